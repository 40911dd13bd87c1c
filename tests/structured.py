"""A small project on disk for each family of the structured dialect: real clips, weights, a spec per action."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from factory import make_clip, make_dataset, make_snapshot
from tao_runtime.errors import FindingsError
from tao_runtime.preflight.prepare import Prepared, prepare
from tao_runtime.preflight.report import Report, from_findings

CLIPS, FRAMES = 6, 24
TASKS = {
    "cosmos3_vision": "vfm",
    "cosmos3_reasoner": "vlm",
    "cosmos_predict1": "text2world",
    "cosmos_predict2": "video2world",
}


def make_folder(root: Path, *, clips: int = CLIPS) -> Path:
    """Clips of 24 frames in videos/, a caption each in metas/."""
    (root / "metas").mkdir(parents=True)
    for number in range(clips):
        make_clip(root / "videos" / f"{number}.mp4", num_frames=FRAMES, seed=number)
        (root / "metas" / f"{number}.txt").write_text(f"a square moves over ground {number}")
    return root


def make_jsonl(root: Path, *, clips: int = CLIPS) -> Path:
    """The same clips, as a file of windows."""
    records = []
    for number in range(clips):
        make_clip(root / "train" / f"{number}.mp4", num_frames=FRAMES, seed=number)
        window = {"start_frame": 0, "end_frame": FRAMES - 1, "temporal_interval": 1, "caption_json": {"number": number}}
        records.append({"uuid": str(number), "vision_path": f"{number}.mp4", "t2w_windows": [window]})
    (root / "train" / "video_dataset_file.jsonl").write_text("\n".join(map(json.dumps, records)))
    return root


class StructuredProject:
    """One family: its data, its weights, and the tables of specs that have no finding."""

    def __init__(self, root: Path, family: str) -> None:
        self.root, self.family, self.spec_changes = root, family, dict[str, Any]()
        self.action, self.world_size = "train", 1
        root.mkdir(parents=True, exist_ok=True)
        self.model, self.vae = make_snapshot(root / "model"), root / "vae.pth"
        self.vae.write_bytes(b"weights")
        make = {"cosmos3_vision": make_jsonl, "cosmos3_reasoner": make_dataset}.get(family, make_folder)
        self.data = make(root / "data")
        self.given = make_clip(root / "clip.mp4")  # what video goes on from
        self.twin = make(root / "twin")
        make_snapshot(root / "model-twin")
        if family != "cosmos3_reasoner":  # a pipeline, whose network lies in the folder itself
            (self.model / "model_index.json").write_text("{}")
            (self.model / "transformer").symlink_to(".")

    def source(self) -> dict[str, Any]:
        """The table that names the data."""
        if self.family.startswith("cosmos3"):
            return {"dataset_path": str(self.data)}
        return {"dataset_dir": str(self.data), "num_frames": 17, "video_size": [64, 64]}

    def tables(self, action: str) -> dict[str, Any]:
        job = {"task": TASKS[self.family], "name": "run", "output_root": str(self.root / "out")}
        if action == "train":
            model: dict[str, Any] = {"tokenizer": {"vae_path": str(self.vae)}}
            if self.family == "cosmos3_reasoner":
                model = {"backbone": {"model_name": str(self.model)}}
            elif self.family != "cosmos3_vision":
                model["text_encoder"] = str(self.model)
            clips = self.source()
            if self.family == "cosmos3_vision":
                clips["max_samples_per_batch"] = 1  # of six: a pack would hold each of them many times
            return {"job": job, "model": model, "dataloader_train": clips,
                    "checkpoint": {} if self.family == "cosmos3_reasoner" else {"load_path": str(self.model)},
                    "scheduler": {"warm_up_steps": [10], "cycle_lengths": [500]}}  # fmt: skip
        tables: dict[str, Any] = {"job": job, "model": {"path": str(self.model)}}
        if action == "evaluate":
            return {**tables, "dataset": self.source()}
        if self.family == "cosmos3_reasoner":
            return {**tables, "inference": {"media": str(self.data / "clip_0.mp4")}}
        input_path = {"input_path": str(self.given)} if self.family == "cosmos_predict2" else {}
        return {**tables, "inference": {"prompt": "a square", "size": [64, 64], **input_path}}

    def set(self, **keys: Any) -> None:
        """Change keys of the spec; __ stands for a dot."""
        self.spec_changes.update({key.replace("__", "."): value for key, value in keys.items()})

    def path(self, action: str) -> Path:
        """Write the spec of an action; return its path."""
        tables = self.tables(action)
        for dotted, value in self.spec_changes.items():
            *names, leaf = dotted.split(".")
            inner = tables
            for name in names:
                inner = inner.setdefault(name, {})
            inner[leaf] = value
        path = self.root / f"{action}.yaml"
        path.write_text(yaml.safe_dump(tables))
        return path

    def prepare(self, *overrides: str, action: str = "train", nproc: int | None = 2) -> Prepared:
        return prepare(self.path(action), overrides, action=action, nproc=nproc)

    def report(self) -> Report:
        try:
            return self.prepare(action=self.action, nproc=self.world_size).report
        except FindingsError as error:
            return from_findings(error.findings, action=self.action, family=self.family)
