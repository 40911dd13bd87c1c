"""Keys that are read and change nothing here, and keys that would change something and are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import JsonValue

from tao_runtime.data.facts import Facts
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.effect import changed
from tao_runtime.spec.base import Spec

_CONTROLLER = "there is no controller here: torchrun starts all processes"
_SERVER = "answers are generated in the process, not asked of a server"
_READER = "PyAV decodes, once per clip"

# key -> why it has no effect. A key that is here must not change a plan (tests/contracts).
NO_EFFECT: Final[dict[str, dict[str, str]]] = {
    "train": {
        "redis": _CONTROLLER,
        "custom_script": _CONTROLLER,
        "policy.parallelism.n_init_replicas": _CONTROLLER,
        "policy.parallelism.cp_rotate_method": "sequences are exchanged by all-to-all",
        "train.sync_weight_interval": "there are no rollout replicas to copy weights to",
        "train.async_tp_enabled": "there is no tensor parallelism here",
        "train.fp8.fp8_recipe": "there is no 8-bit training here",
        "train.fp8.quant_recipe": "there is no 8-bit training here",
        "train.train_policy.dataset.name": "caches are keyed by content, not by name",
        "validation.dataset.name": "custom.val_dataset says which records",
        "validation.dataset.subset": "custom.val_dataset says which records",
        "validation.dataset.split": "custom.val_dataset says which records",
    },
    "evaluate": {
        "evaluation.num_processes": _SERVER,
        "generation.max_retries": _SERVER,
        "model.tokenizer_model_name": "the model's own tokenizer is used",
        "model.config_file": "checkpoints are not converted here",
        "model.export_dir": "checkpoints are not converted here",
        "model.vit_checkpoint_path": "a snapshot holds its vision weights",
        "evaluation.barrier_timeout_seconds": "processes do not wait for each other before the end",
        "evaluation.shard_strategy": "records are dealt in turn",
        "evaluation.answer_type": "one parser reads answers of every form",
        "vision.video_decoder": _READER,
        "vision.frame_transfer": _READER,
        "vision.video_cache_size": _READER,
        "vision.process_threads": _READER,
        "vision.decoder_device": _READER,
        "vision.decoder_cache_size": _READER,
        "vision.decoder_threads": _READER,
        "vision.dataloader_num_workers": _READER,
        "vision.dataloader_prefetch_factor": _READER,
        "vision.dataloader_multiprocessing_context": _READER,
        "vision.dataloader_persistent_workers": _READER,
    },
    "inference": {"device_map": "each process holds the whole model"},
    "quantize": {"dataset.dataset_split": "dataset.annotation_path says which records"},
}

# key -> what does not exist yet. To ignore one of these would change results in silence.
REFUSED: Final[dict[str, dict[str, str]]] = {
    "train": {},
    "evaluate": {
        "model.tp_size": "tensor parallelism; use more processes",
        "evaluation.shard_id": "a shard of the records in a run of its own; use more processes",
        "generation.presence_penalty": "this penalty; use repetition_penalty",
        "generation.frequency_penalty": "this penalty; use repetition_penalty",
        "vision.resized_height": "a fixed size; use max_pixels or total_pixels",
        "vision.resized_width": "a fixed size; use max_pixels or total_pixels",
        "vision.video_start": "a part of a clip; cut the clip",
        "vision.video_end": "a part of a clip; cut the clip",
        "vision.video_override_map": "other paths for named videos",
    },
    "inference": {},
    "quantize": {"dataset.dataset_id": "a data set of the hub; download it and set dataset.annotation_path"},
}


@rule(
    "cosmos_reason/no-effect",
    "note",
    families=("cosmos_reason",),
    source="this package: accepted so that specs of the upstream container load",
)
def no_effect(spec: Spec, facts: Facts, plan: object) -> Iterator[Problem]:
    """A key that differs from its default and changes nothing here is named."""
    for key, reason in NO_EFFECT.get(spec.action, {}).items():
        if pair := changed(spec, key):
            yield Problem(key, f"{pair[0]!r} has no effect: {reason}", "its default, or the key left out")


@rule(
    "cosmos_reason/not-supported",
    "error",
    families=("cosmos_reason",),
    source="this package: what is asked for is done or refused, never ignored",
)
def not_supported(spec: Spec, facts: Facts, plan: object) -> Iterator[Problem]:
    """A key that would change the result, and is not supported yet, keeps its default."""
    for key, what in REFUSED.get(spec.action, {}).items():
        if pair := changed(spec, key):
            default = pair[1] if isinstance(pair[1], str | int | float | bool | None) else None
            patch: dict[str, JsonValue] = {key: default}
            yield Problem(
                key, f"{pair[0]!r} asks for what does not exist yet: {what}", f"{default!r}", "leave it out", patch
            )
