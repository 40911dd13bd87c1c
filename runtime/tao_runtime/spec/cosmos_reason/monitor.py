"""Validation and logging: what is watched while training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tao_runtime.spec.base import Section
from tao_runtime.spec.field import Automl, NonNegativeInt, PositiveInt, Text, key, table

Logger = Literal["console", "tao", "wandb", "tensorboard"]


class ValidationDataset(Section):
    """A named data set for validation. Has no effect here: custom.val_dataset says which records."""

    name: str = key("", "Name of the data set. Has no effect here.")
    subset: str = key("", "Subset of the data set. Has no effect here.")
    split: str = key("train", "Split of the data set. Has no effect here.")


class Validation(Section):
    """Loss on records that are not trained on."""

    enable: bool = key(True, "Measure the loss on held-out records.")
    freq: NonNegativeInt = key(
        0, "Steps between validations. 0: as freq_in_epoch says.", unit="steps", since="cosmos-rl"
    )
    freq_in_epoch: PositiveInt = key(1, "Epochs between validations.", unit="epochs")
    val_before_train: bool = key(False, "Also validate before the first step.", since="cosmos-rl")
    batch_size: PositiveInt = key(4, "Samples of one forward pass.", unit="samples")
    dataloader_num_workers: NonNegativeInt = key(8, "Threads that read and decode ahead.", unit="threads")
    dataloader_prefetch_factor: PositiveInt = key(8, "Samples that each of these threads keeps ready.", unit="samples")
    enable_dataset_cache: bool = key(False, "Keep decoded validation frames in memory too.")
    dataset: ValidationDataset = table(
        ValidationDataset(),
        "A named data set for validation. Has no effect here: custom.val_dataset says which records.",
    )


class Logging(Section):
    """Where metrics go, beside metrics.jsonl and status.jsonl, which are always written."""

    logger: Annotated[tuple[Logger, ...], Field(strict=False)] = key(
        ("console", "tao"),
        "Where metrics are shown: console; tao (status.jsonl, always on); wandb and tensorboard, if installed.",
        automl=Automl(enabled=False),
    )
    log_interval: PositiveInt = key(1, "Steps between log entries.", unit="steps", since="cosmos-rl")
    project_name: Text = key("cosmos-rl", "Project that runs are filed under.")
    experiment_name: Text = key("cosmos-rl", "Name of this run.")
    group_name: Text | None = key(None, "Group of runs within the project.", since="cosmos-rl")
