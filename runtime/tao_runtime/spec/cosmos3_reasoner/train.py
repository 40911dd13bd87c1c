"""The training spec of the reasoner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from tao_runtime.spec.base import DatasetRef, ModelRef, Section
from tao_runtime.spec.cosmos3_reasoner.experiments import BACKBONE, EXPERIMENTS, LAUNCHERS, Experiment
from tao_runtime.spec.cosmos3_reasoner.hub import HUB
from tao_runtime.spec.field import REQUIRED, PositiveFloat, PositiveInt, Text, table
from tao_runtime.spec.hub_asset import HubAsset, pin_of
from tao_runtime.spec.structured import model as shared
from tao_runtime.spec.structured.field import OURS, key
from tao_runtime.spec.structured.job import EXPERIMENT_DOC, TASK_DOC, Job, Task
from tao_runtime.spec.structured.loop import Checkpoint, DataloaderTrain, Optimizer, Scheduler, Trainer
from tao_runtime.spec.structured.spec import ALIASES, StructuredSpec

Format = Literal["llava", "llava-parquet", "videophy2"]


class ReasonerJob(Job):
    """Name and place of a run."""

    task: Task = key("vlm", TASK_DOC)
    experiment: Experiment = key("", EXPERIMENT_DOC)


class ReasonerBackbone(shared.Backbone):
    """The language model with its vision tower."""

    model_name: Text = key(BACKBONE, shared.Backbone.model_fields["model_name"].description or "")


class ReasonerModel(shared.Model):
    """The network: what of it is trained, in which precision, over which devices."""

    backbone: ReasonerBackbone = table(ReasonerBackbone(), "The language model with its vision tower.")


class Frames(Section):
    """How frames are taken from a video. Exactly one of fps and nframes."""

    fps: PositiveFloat | None = key(None, "Rate at which frames are taken, in video time.", unit="frames/s", since=OURS)
    nframes: PositiveInt | None = key(
        8, "Frames taken from each clip, spread evenly. Set it to null to use fps.", unit="frames", since=OURS
    )
    max_frames: PositiveInt | None = key(None, "Most frames that fps takes from a clip.", unit="frames", since=OURS)
    max_pixels: PositiveInt | None = key(None, "Upper limit of the area of one frame.", unit="pixels", since=OURS)
    total_pixels: PositiveInt | None = key(
        None, "Upper limit of the area of all frames of a clip together.", unit="pixels", since=OURS
    )

    @model_validator(mode="before")
    @classmethod
    def _choose_frames(cls, data: Any) -> Any:
        """Take the default frame count back where only fps is given."""
        if isinstance(data, dict) and data.get("fps") is not None and "nframes" not in data:
            return {**data, "nframes": None}
        return data


class ConversationKeys(Section):
    """Which conversations there are, and how they become samples."""

    dataset_path: Text = key(
        REQUIRED, "Annotation file or root (llava), parquet file or folder, or a VideoPhy-2 split.", since=OURS
    )
    dataset_format: Format = key("llava", "How the data set is laid out.", since=OURS)
    media_path: str = key(
        "", "Directory that media names are relative to. Empty: that of the annotation. Only for llava.", since=OURS
    )
    system_prompt: str = key("", "Text of the system turn of every sample. Empty: no system turn.", since=OURS)
    vision: Frames = table(Frames(), "How frames are taken from a video. Exactly one of fps and nframes.")

    def ref(self, label: str, table_key: str) -> DatasetRef:
        """Return this data set as the rest of the package names it."""
        media = f"{table_key}.media_path" if self.media_path else f"{table_key}.dataset_path"
        return DatasetRef(
            label,
            self.dataset_path,
            self.media_path,
            f"{table_key}.dataset_path",
            media,
            format=self.dataset_format,
        )


class ConversationLoader(DataloaderTrain, ConversationKeys):
    """Which conversations there are, what a micro-batch holds, and how samples are made."""


class ReasonerSpec(StructuredSpec):
    """What the actions of the family share."""

    family: ClassVar[str] = "cosmos3_reasoner"
    task: ClassVar[str] = "vlm"
    hub: ClassVar[tuple[HubAsset, ...]] = HUB
    experiments: ClassVar[Mapping[str, Mapping[str, object]]] = EXPERIMENTS
    launchers: ClassVar[Mapping[str, Mapping[str, str]]] = LAUNCHERS


class TrainSpec(ReasonerSpec):
    """Supervised fine-tuning of a reasoner, its loss on the answers only."""

    action: ClassVar[str] = "train"
    assumed: ClassVar[bool] = True
    aliases: ClassVar[Mapping[str, str]] = ALIASES
    critical: ClassVar[Mapping[str, tuple[str, str]]] = {
        "job.task": ("vlm", "vfm trains the generator, and takes other data."),
        "model.backbone.safetensors_path": (
            "the merged directory of a Cosmos3 language model, or nothing",
            "Empty starts from the weights of model_name.",
        ),
        "dataloader_train.max_sequence_length": ("the longest sample", "A longer sample is refused, never cut."),
        "trainer.grad_accum_iter": ("global batch / processes", "It is part of the global batch."),
        "scheduler.warm_up_steps": ("fewer than trainer.max_iter", "One shipped recipe warms up past its end."),
    }

    job: ReasonerJob = table(ReasonerJob(), "Name and place of a run.")
    model: ReasonerModel = table(
        ReasonerModel(), "The network: what of it is trained, in which precision, over which devices."
    )
    optimizer: Optimizer = table(Optimizer(), "AdamW, and which parameters it trains.")
    scheduler: Scheduler = table(
        Scheduler(),
        "Learning rate over the steps: warm-up, then decay, in one or more cycles; each list has an entry per cycle.",
    )
    trainer: Trainer = table(Trainer(), "How long the run is, and what a step is made of.")
    checkpoint: Checkpoint = table(Checkpoint(), "Where the run starts from, and when it is saved.")
    dataloader_train: ConversationLoader = table(
        REQUIRED, "Which conversations there are, what a micro-batch holds, and how samples are made."
    )

    def datasets(self) -> tuple[DatasetRef, ...]:
        return (self.dataloader_train.ref("train", "dataloader_train"),)

    def models(self) -> tuple[ModelRef, ...]:
        name = self.model.backbone.model_name
        named = ModelRef("architecture", name, "model.backbone.model_name", pin_of(HUB, name))
        given = {
            "checkpoint.load_path": self.checkpoint.load_path,
            "model.backbone.safetensors_path": self.model.backbone.safetensors_path,
        }
        for where, path in given.items():  # a warm start before the backbone's weights, these before its name
            if path:
                return (ModelRef("model", path, where), named)
        return (ModelRef("model", named.path, named.key, named.revision),)
