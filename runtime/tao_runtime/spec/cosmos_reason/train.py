"""The training spec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import ClassVar

from tao_runtime.spec.base import DatasetRef, ModelRef, Spec
from tao_runtime.spec.cosmos_reason.custom import Custom
from tao_runtime.spec.cosmos_reason.loop import Train
from tao_runtime.spec.cosmos_reason.monitor import Logging, Validation
from tao_runtime.spec.cosmos_reason.policy import Policy
from tao_runtime.spec.field import REQUIRED, Text, key, table


class TrainSpec(Spec):
    """Supervised fine-tuning of a video reasoner."""

    family: ClassVar[str] = "cosmos_reason"
    action: ClassVar[str] = "train"
    aliases: ClassVar[Mapping[str, str]] = {
        "learning_rate": "train.optm_lr",
        "batch_size": "train.train_batch_per_replica",
        "mini_batch": "train.train_policy.mini_batch",
        "num_epochs": "train.epoch",
        "warmup_epochs": "train.optm_warmup_epochs",
        "weight_decay": "train.optm_weight_decay",
        "dp_shard_size": "policy.parallelism.dp_shard_size",
        "dp_replicate_size": "policy.parallelism.dp_replicate_size",
    }

    critical: ClassVar[Mapping[str, tuple[str, str]]] = {
        "policy.model_name_or_path": (
            "a local snapshot, or hf_model://org/name",
            "A hub model is gated: without it on this machine, a token is needed before anything starts.",
        ),
        "policy.model_max_length": (
            "not below the default for videos",
            "A sample that is longer is refused before the run; upstream cuts through its frames and fails.",
        ),
        "train.train_batch_per_replica": (
            "a multiple of mini_batch, not above the samples of a process",
            "Otherwise there is no whole micro-batch, or no step at all.",
        ),
        "train.train_policy.mini_batch": (
            "a divisor of train_batch_per_replica",
            "Lower this one when memory runs out: the result stays the same.",
        ),
        "train.train_policy.type": (
            "sft, kept in the file",
            "Upstream's launcher turns to another training without it.",
        ),
        "policy.parallelism.dp_shard_size": (
            "GPUs per node, or -1",
            "dp_shard_size x dp_replicate_size must be the number of processes.",
        ),
        "custom.vision.nframes": ("null if you set fps", "Exactly one of fps and nframes."),
    }

    results_dir: Text = key(REQUIRED, "Directory that everything of the run is written to.")
    custom: Custom = table(REQUIRED, "Data, sampling and prompt.")
    policy: Policy = table(Policy(), "The model that is trained.")
    train: Train = table(Train(), "The training loop.")
    validation: Validation = table(Validation(), "Loss on records that are not trained on.")
    logging: Logging = table(
        Logging(), "Where metrics go, beside metrics.jsonl and status.jsonl, which are always written."
    )
    custom_script: str = key("", "Script that a controller would run. Has no effect here.")
    redis: str = key("12800", "Port of a controller's message server. Has no effect here: there is none.")

    def datasets(self) -> tuple[DatasetRef, ...]:
        column, val = self.train.train_policy.conversation_column_name, self.custom.val_dataset
        train = self.custom.train_dataset.ref("train", "custom.train_dataset", conversation_key=column)
        if val is None:
            return (train,)
        return (train, val.ref("val", "custom.val_dataset", conversation_key=column))

    def models(self) -> tuple[ModelRef, ...]:
        if isinstance(self.train.resume, str):  # a warm start: these weights instead of the base
            return (ModelRef("model", self.train.resume, "train.resume"),)
        key_name = "policy.model_name_or_path"
        return (ModelRef("model", self.policy.model_name_or_path, key_name, self.policy.model_revision),)

    def output_dir(self) -> str:
        return str(PurePath(self.results_dir) / self.train.output_dir)
