"""Data and vision: the `custom` table of a training spec."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from tao_runtime.spec.base import DatasetRef, Section
from tao_runtime.spec.field import REQUIRED, Automl, PositiveFloat, PositiveInt, Text, key, table

ResponseMode = Literal["answer", "think", "hybrid"]


def choose_frames(data: Any, *counts: str) -> Any:
    """Return the table with its default frame count taken back when the user chose `fps` or another count instead.

    Without this, a file that sets only `fps` would hold both, and nobody could have written the count away in TOML.
    """
    if not isinstance(data, dict):
        return data
    given = [name for name in ("fps", *counts) if data.get(name) is not None]
    return {**dict.fromkeys(("fps", *counts)), **data} if given else data


class TrainDataset(Section):
    """Where the training records and their media are."""

    annotation_path: Text = key(
        REQUIRED,
        "LLaVA annotation file, or a dataset root: a directory that holds annotations.json and the media.",
    )
    media_path: str = key(
        "", "Directory that media names in the records are relative to. Empty: that of the annotation."
    )
    media_root: str = key("", "Newer name of media_path; used where media_path is empty.", since="7.0.1")
    response_mode: ResponseMode = key(
        "answer",
        "Which part of a target is learned: answer leaves <think> blocks out, think keeps them, "
        "hybrid takes each record as it is.",
        since="7.0.1",
    )

    def ref(self, label: str, table_key: str, *, conversation_key: str) -> DatasetRef:
        """Return this dataset as the rest of the package names it."""
        name = "media_path" if self.media_path or not self.media_root else "media_root"
        return DatasetRef(
            label=label,
            annotation=self.annotation_path,
            media=self.media_path or self.media_root,
            annotation_key=f"{table_key}.annotation_path",
            media_key=f"{table_key}.{name}",
            conversation_key=conversation_key,
        )


class ValDataset(TrainDataset):
    """Where the validation records and their media are."""


class Vision(Section):
    """How frames are taken from a video. Exactly one of fps and nframes."""

    fps: PositiveFloat | None = key(
        None,
        "Rate at which frames are taken, in video time; instead of nframes. 1 to 2 for calm scenes, 3 for fast ones.",
        unit="frames/s",
        automl=Automl(enabled=True, minimum=1, maximum=3),
    )
    nframes: PositiveInt | None = key(
        8,
        "Frames taken from each clip, spread evenly. Set it to null to use fps.",
        unit="frames",
        automl=Automl(minimum=1, maximum=8),
    )
    max_frames: PositiveInt | None = key(
        None,
        "Upper limit of the frames that fps takes from one clip.",
        unit="frames",
        automl=Automl(enabled=False),
        since="head",
    )
    max_pixels: PositiveInt | None = key(
        None, "Upper limit of the area of one frame.", unit="pixels", automl=Automl(enabled=False), since="head"
    )
    total_pixels: PositiveInt | None = key(
        None,
        "Upper limit of the area of all frames of a clip together; 1,024 pixels of one step become one token. "
        "Raise it when the object of interest is small.",
        unit="pixels",
        automl=Automl(minimum=1),
    )

    @model_validator(mode="before")
    @classmethod
    def _choose_frames(cls, data: Any) -> Any:
        return choose_frames(data, "nframes")


class Custom(Section):
    """Data, sampling and prompt."""

    train_dataset: TrainDataset = table(REQUIRED, "Where the training records and their media are.")
    val_dataset: ValDataset | None = table(
        None,
        "Where the validation records and their media are. Without it, train.train_policy.dataset.test_size holds "
        "records of the training set out.",
    )
    vision: Vision = table(Vision(), "How frames are taken from a video. Exactly one of fps and nframes.")
    system_prompt: str = key("", "Text of the system turn that every sample starts with. Empty: no system turn.")
