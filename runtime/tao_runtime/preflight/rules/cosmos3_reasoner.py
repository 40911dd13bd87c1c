"""Rules of the reasoner's specs: frames, length, keys of the other task, and keys without effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tao_runtime.data.facts import Facts, VisionGeometry
from tao_runtime.data.families import PromptOptions
from tao_runtime.plan.model import EvaluatePlan, TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.cosmos_reason.length import Limit, Samples, too_long
from tao_runtime.preflight.rules.effect import without_effect
from tao_runtime.preflight.rules.structured import effect

_GENERATOR: Final = "it is for task vfm; upstream drops it"
_NO_AVERAGE: Final = "a reasoner keeps no averaged copy; upstream's does nothing either"
NO_EFFECT: Final[dict[str, dict[str, str]]] = {
    "train": {
        **effect.TRAIN,
        "model.attn_implementation": "attention that keeps packed samples apart, in the kernel that fits the machine",
        "model.max_num_tokens_after_packing": _GENERATOR,
        "model.joint_attn_implementation": _GENERATOR,
        "model.lora_rank": _GENERATOR,
        "model.lora_alpha": _GENERATOR,
        "model.lora_target_modules": _GENERATOR,
        "model.tokenizer.vae_path": _GENERATOR,
        "model.ema.enabled": _NO_AVERAGE,
        "model.ema.rate": _NO_AVERAGE,
        "model.ema.iteration_shift": _NO_AVERAGE,
        "optimizer.eps": _GENERATOR,
        "dataloader_train.max_caption_tokens": _GENERATOR,
    },
    "evaluate": effect.ANSWER,
    "inference": effect.ANSWER,
}


@rule(
    "cosmos3_reasoner/no-effect",
    "note",
    families=("cosmos3_reasoner",),
    source="this package: accepted so that specs of the upstream framework load",
)
def no_effect(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """A key that differs from its default and changes nothing here is named."""
    yield from without_effect(spec, NO_EFFECT[spec.action])


@rule(
    "cosmos3_reasoner/lora",
    "error",
    families=("cosmos3_reasoner",),
    actions=("train",),
    source="upstream drops the key on task vlm, and trains all weights",
)
def lora(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """Adapters are for the generator: a spec that asks for them here would train all weights."""
    key = "model.lora_enabled"
    if spec.model.lora_enabled:
        yield Problem(key, "true", "false: adapters are for task vfm", "leave it out", {key: False})


@rule(
    "cosmos3_reasoner/context-parallel",
    "error",
    families=("cosmos3_reasoner",),
    actions=("train",),
    source="upstream's reasoner asserts that the degree is 1",
)
def context_parallel(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """A reasoner's sequence is on one process."""
    key = "model.parallelism.context_parallel_shard_degree"
    size = spec.model.parallelism.context_parallel_shard_degree
    if size > 1:
        yield Problem(key, str(size), "1", "set it to 1", {key: 1})


@rule(
    "cosmos3_reasoner/frame-sampling",
    "error",
    families=("cosmos3_reasoner",),
    source="both at once, or neither, says nothing",
)
def frame_sampling(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """Exactly one of fps and nframes says how frames are taken."""
    name = {"train": "dataloader_train", "evaluate": "dataset", "inference": "inference"}[spec.action]
    vision = getattr(spec, name).vision
    if (vision.fps is None) == (vision.nframes is None):
        saw = (
            "neither fps nor nframes" if vision.fps is None else f"fps = {vision.fps:g} and nframes = {vision.nframes}"
        )
        patch = {f"{name}.vision.nframes": 8 if vision.fps is None else None}
        yield Problem(f"{name}.vision.fps", saw, "exactly one of fps and nframes", "keep one of them", patch)


@rule(
    "cosmos3_reasoner/length",
    "error",
    families=("cosmos3_reasoner",),
    actions=("train", "evaluate"),
    source="upstream's packer leaves longer samples out in silence",
)
def length(spec: Any, facts: Facts, plan: TrainPlan | EvaluatePlan) -> Iterator[Problem]:
    """Every record fits the length that the spec allows, text and vision together. Nothing is ever cut."""
    train = isinstance(plan, TrainPlan)
    dataset = facts.datasets.get("train" if train else "eval")
    if dataset is None:
        return
    model = facts.models.get("architecture") or facts.models.get("base_model") or facts.models.get("model")
    source = plan.data if isinstance(plan, TrainPlan) else plan
    prompt = PromptOptions(source.prompt_format, source.system_prompt)
    geometry = model.geometry if model else VisionGeometry()
    layout = plan.data.train.format if isinstance(plan, TrainPlan) else plan.data.format
    samples = Samples(dataset, source.sampling, geometry, prompt, generate=not train, format=layout)
    if isinstance(plan, TrainPlan):
        limit = Limit(
            plan.model.max_length, "dataloader_train.max_sequence_length", "dataloader_train.vision.total_pixels"
        )
    else:
        limit = Limit(
            plan.model.max_length, "model.max_length", "dataset.vision.total_pixels", plan.generation.max_new_tokens
        )
    yield from too_long(samples, limit, model)


@rule(
    "cosmos3_reasoner/batch-exceeds-samples",
    "error",
    families=("cosmos3_reasoner",),
    actions=("train",),
    source="upstream's loader spins for ever where no rank gets a batch",
)
def batch_exceeds_samples(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """The data set holds at least one global batch."""
    if plan.data.train.num_records and plan.steps.per_epoch == 0:
        saw = f"{plan.data.train.num_records} records, and a global batch of {plan.batch.global_batch}"
        yield Problem(
            "trainer.grad_accum_iter", saw, "at least one global batch", "use fewer processes, or more records"
        )
