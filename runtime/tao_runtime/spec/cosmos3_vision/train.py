"""The training spec of the vision family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, ClassVar, Literal

from tao_runtime.spec.base import DatasetRef, ModelRef, Section
from tao_runtime.spec.cosmos3_vision.experiments import EXPERIMENTS, LAUNCHERS, Experiment
from tao_runtime.spec.cosmos3_vision.hub import HUB
from tao_runtime.spec.field import REQUIRED, Fraction, PositiveFloat, PositiveInt, Text, table
from tao_runtime.spec.hub_asset import HubAsset
from tao_runtime.spec.structured import model as shared
from tao_runtime.spec.structured.field import OURS, key
from tao_runtime.spec.structured.job import EXPERIMENT_DOC, TASK_DOC, Job, Task
from tao_runtime.spec.structured.loop import Checkpoint, DataloaderTrain, Optimizer, Scheduler, Trainer
from tao_runtime.spec.structured.spec import ALIASES, StructuredSpec

CONDITIONING = {"0": 0.7, "1": 0.2, "2": 0.1}


class VisionJob(Job):
    """Name and place of a run."""

    task: Task = key("vfm", TASK_DOC)
    experiment: Experiment = key("", EXPERIMENT_DOC)


class VisionModel(shared.Model):
    """The network: what of it is trained, in which precision, over which devices."""

    size: Literal["nano", "super"] = key("nano", "Size of the network.", since=OURS)
    shift: PositiveFloat | None = key(
        None, "How far noise levels are moved up. Null: by resolution, 3 for 256, 5 for 480, 10 for 720.", since=OURS
    )
    loss_scale: PositiveFloat = key(1.0, "Factor on the loss.", since=OURS)


class ClipSource(Section):
    """Which clips there are, and how they become samples."""

    dataset_path: Text = key(REQUIRED, "Folder of the data set; it holds dataset_file.", since=OURS)
    dataset_file: Text = key(
        "train/video_dataset_file.jsonl", "File with one clip a line, relative to dataset_path.", since=OURS
    )
    resolution: Literal["256", "480", "720"] = key(
        "256", "Tier of frame sizes; a clip gets the size of its tier that is nearest to its shape.", since=OURS
    )
    num_video_frames: Literal[-1] | PositiveInt = key(
        -1, "Frames of a sample. -1: as many as its window has, cut to what the tokenizer takes.", since=OURS
    )
    min_frames: PositiveInt = key(5, "Fewest frames; a shorter window is left out.", unit="frames", since=OURS)
    temporal_interval_mode: Literal["force_one", "max_30fps", "entire_chunk"] = key(
        "max_30fps",
        "Stride of frames where num_video_frames is given: each frame, at most 30 a second, or over the whole window. "
        "Otherwise the window says its own.",
        since=OURS,
    )
    frame_selection: Literal["first", "center", "random"] = key(
        "first", "Where in its window a sample of num_video_frames lies.", since=OURS
    )
    max_duration_s: PositiveFloat = key(61.0, "Longest clip; a longer one is left out.", unit="s", since=OURS)
    conditioning: dict[str, Fraction] = key(
        CONDITIONING, "Number of leading latent frames that are given, to how often: text, picture, clip.", since=OURS
    )

    def ref(self, label: str, table_key: str) -> DatasetRef:
        """Return this data set as the rest of the package names it."""
        name, where = str(PurePath(self.dataset_path) / self.dataset_file), f"{table_key}.dataset_path"
        return DatasetRef(label, name, str(PurePath(name).parent), where, where, format="video-jsonl")


class ClipKeys(DataloaderTrain, ClipSource):
    """Which clips there are, what a micro-batch holds, and how samples are made."""

    caption_dropout: Fraction = key(0.1, "Share of samples that are trained without their caption.", since=OURS)


class VisionSpec(StructuredSpec):
    """What the actions of the family share."""

    family: ClassVar[str] = "cosmos3_vision"
    task: ClassVar[str] = "vfm"
    makes_video: ClassVar[bool] = True
    packs: ClassVar[bool] = True
    temporal: ClassVar[int] = 4
    spatial: ClassVar[int] = 16
    takes_input: ClassVar[Literal["", "sometimes", "always"]] = "sometimes"
    hub: ClassVar[tuple[HubAsset, ...]] = HUB
    experiments: ClassVar[Mapping[str, Mapping[str, object]]] = EXPERIMENTS
    launchers: ClassVar[Mapping[str, Mapping[str, str]]] = LAUNCHERS


class TrainSpec(VisionSpec):
    """Supervised fine-tuning of a video generator."""

    action: ClassVar[str] = "train"
    assumed: ClassVar[bool] = True
    aliases: ClassVar[Mapping[str, str]] = ALIASES
    critical: ClassVar[Mapping[str, tuple[str, str]]] = {
        "job.experiment": ("vision_sft_nano or vision_sft_super", "It brings size, data wiring and launcher paths."),
        "job.name": ("a name of its own", "The same name goes on from what is committed there."),
        "checkpoint.load_path": ("the base model, converted or as published", "Without it nothing is fine-tuned."),
        "optimizer.keys_to_select": (
            "the generator's parts, or lora_",
            "Empty trains both towers, and needs twice the memory.",
        ),
        "model.parallelism.data_parallel_shard_degree": (
            "-1, or GPUs / context_parallel_shard_degree",
            "The product of all degrees must be the number of processes.",
        ),
        "model.max_num_tokens_after_packing": ("at least the longest clip", "A longer clip is left out, and counted."),
    }

    job: VisionJob = table(VisionJob(), "Name and place of a run.")
    model: VisionModel = table(
        VisionModel(), "The network: what of it is trained, in which precision, over which devices."
    )
    optimizer: Optimizer = table(Optimizer(), "AdamW, and which parameters it trains.")
    scheduler: Scheduler = table(
        Scheduler(),
        "Learning rate over the steps: warm-up, then decay, in one or more cycles; each list has an entry per cycle.",
    )
    trainer: Trainer = table(Trainer(), "How long the run is, and what a step is made of.")
    checkpoint: Checkpoint = table(Checkpoint(), "Where the run starts from, and when it is saved.")
    dataloader_train: ClipKeys = table(REQUIRED, "Which clips there are, and how they become samples.")
    custom: dict[str, Any] = key({}, "The user's own table. It is kept as it stands, and nothing here reads it.")

    def datasets(self) -> tuple[DatasetRef, ...]:
        data = self.dataloader_train
        return (data.ref("train", "dataloader_train"),)

    def models(self) -> tuple[ModelRef, ...]:
        tokenizer = ModelRef("tokenizer", self.model.tokenizer.vae_path, "model.tokenizer.vae_path")
        return (ModelRef("model", self.checkpoint.load_path, "checkpoint.load_path"), tokenizer)
