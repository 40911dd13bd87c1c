"""What specs of the structured dialect share: how a family is recognised, its shipped bases, its output folder."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, ClassVar, Final, Literal

from tao_runtime.spec.base import AskedRef, Spec
from tao_runtime.spec.field import table
from tao_runtime.spec.structured.field import key
from tao_runtime.spec.structured.job import DEFAULT_TASK, Job

# Names that upstream's command line uses for keys of the file.
ALIASES: Final[Mapping[str, str]] = {
    "model.config.policy.backbone": "model.backbone",
    "model.config.policy": "model",
    "model.config": "model",
    "data_setting.max_tokens": "dataloader_train.max_sequence_length",
    "dataloader_train.max_tokens": "dataloader_train.max_sequence_length",
    "dataloader_train.max_batch_size": "dataloader_train.max_samples_per_batch",
}
WORLD_ALIASES: Final[Mapping[str, str]] = {
    "model.config.pipe_config.ema": "model.ema",
    "model.config": "model",
    "model_parallel.context_parallel_size": "model.parallelism.context_parallel_shard_degree",
}
STARTED: Final = "${now:%Y-%m-%d}_${now:%H-%M-%S}"


class StructuredSpec(Spec):
    """A spec with a `job` table. Families are told apart by its task and its experiment."""

    missing_falls_through: ClassVar[bool] = True
    opaque: ClassVar[tuple[str, ...]] = ("custom",)
    task: ClassVar[str]
    # experiment -> value by key; and what upstream's launcher puts into the environment for it.
    experiments: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    launchers: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    makes_video: ClassVar[bool] = False
    # Of the families that make video: does a micro-batch hold tokens, what does the tokenizer do, is there an input.
    packs: ClassVar[bool] = False
    temporal: ClassVar[int] = 1
    spatial: ClassVar[int] = 1
    takes_input: ClassVar[Literal["", "sometimes", "always"]] = ""
    ring_attention: ClassVar[bool] = False  # upstream passes keys and values around instead of dealing out heads
    root_variable: ClassVar[str] = "IMAGINAIRE_OUTPUT_ROOT"
    root_default: ClassVar[str] = "outputs/train"

    job: Job = table(Job(), "Name and place of a run.")
    custom: dict[str, Any] = key({}, "The user's own table. It is kept as it stands, and nothing here reads it.")

    @classmethod
    def claims(cls, given: Mapping[str, object]) -> int:
        task, experiment = given.get("job.task"), given.get("job.experiment")
        default = cls.task == DEFAULT_TASK
        if isinstance(task, str) and task:  # one that does not exist is for the types to refuse
            return 40 if task == cls.task else 30 * default
        if not isinstance(experiment, str) or not experiment:
            return int(default)
        if experiment in cls.experiments:
            return 40
        alike = [difflib.SequenceMatcher(None, experiment, name).ratio() for name in cls.experiments]
        near = max(alike, default=0.0)
        return round(10 + 10 * near) if near > 0.6 else 2 * default

    @classmethod
    def complete(cls, given: Mapping[str, object]) -> Mapping[str, object]:
        root = cls.root_default
        values: dict[str, object] = {
            "job.output_root": f"${{oc.env:{cls.root_variable},{root}}}",
            "job.name": STARTED,
            **(cls.experiments.get(str(given.get("job.experiment") or ""), {}) if cls.action == "train" else {}),
        }
        out = {key: value for key, value in values.items() if not _is_given(key, given)}
        return {**out, "job.name": STARTED} if given.get("job.name") == "" else out

    @classmethod
    def variables(cls, given: Mapping[str, object]) -> Mapping[str, str]:
        return cls.launchers.get(str(given.get("job.experiment") or ""), {})

    def asked(self) -> AskedRef | None:
        if not self.makes_video or self.action != "inference":
            return None
        ask, table = self.inference, "inference"  # type: ignore[attr-defined]  # of each family's own class
        needs = self.takes_input == "always"
        return AskedRef(ask.prompts_path, f"{table}.prompts_path", ask.input_path, f"{table}.input_path", needs)

    def output_dir(self) -> str:
        return str(PurePath(self.job.output_root) / self.job.project / self.job.group / self.job.name)


def _is_given(key: str, given: Mapping[str, object]) -> bool:
    """Whether a key, or one inside its table, is given."""
    return any(name == key or name.startswith(key + ".") for name in given)
