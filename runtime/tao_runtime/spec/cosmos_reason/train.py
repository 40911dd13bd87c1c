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
        key_name = "policy.model_name_or_path"
        return (ModelRef("model", self.policy.model_name_or_path, key_name, self.policy.model_revision),)

    def output_dir(self) -> str:
        return str(PurePath(self.results_dir) / self.train.output_dir)
