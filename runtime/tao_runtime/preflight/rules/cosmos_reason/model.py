"""The model: is it here, whole, allowed, and what the action needs; LoRA and number formats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from tao_runtime.data.facts import Facts, ModelFacts
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.spec.base import Spec
from tao_runtime.spec.cosmos_reason import TrainSpec

HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
GATED: Final = re.compile(r"nvidia/Cosmos-", re.IGNORECASE)
HONOURED_INIT: Final = (True, False, "gaussian")
TOWER_LAYERS: Final = ("attn.qkv", "attn.proj")


def _models(spec: Spec, facts: Facts) -> Iterator[tuple[str, ModelFacts]]:
    """Yield the spec key and the facts of each model."""
    for ref in spec.models():
        if ref.label in facts.models:
            yield ref.key, facts.models[ref.label]


@rule(
    "cosmos_reason/model-missing",
    "error",
    families=("cosmos_reason",),
    source="seed guide: paths exist before launch; upstream retries eleven times on every process",
)
def model_missing(spec: Spec, facts: Facts, plan: object) -> Iterator[Problem]:
    """A model is a directory, or a name on the hub that may be asked."""
    for key, model in _models(spec, facts):
        if model.directory is not None:
            continue
        if not HUB_ID.fullmatch(model.location) or model.location.startswith("."):
            yield Problem(key, f"{model.location} is not a directory", "a model directory, or org/name on the hub")
        elif facts.offline:
            saw = f"{model.location} is not on this machine, and the hub is not asked"
            yield Problem(key, saw, "a local model", "download it first, or leave --offline out")


@rule(
    "cosmos_reason/model-token",
    "error",
    families=("cosmos_reason",),
    source="seed guide, credentials: the gated repository's authentication loop",
)
def model_token(spec: Spec, facts: Facts, plan: object) -> Iterator[Problem]:
    """A gated model that is not on this machine needs HF_TOKEN. Only its presence is looked at."""
    for key, model in _models(spec, facts):
        if model.directory is not None or model.has_token or facts.offline or not HUB_ID.fullmatch(model.location):
            continue
        gated = bool(GATED.match(model.location))
        saw = f"{model.location} is {'gated' if gated else 'not on this machine'}, and HF_TOKEN is not set"
        fix = f"accept the licence at https://huggingface.co/{model.location}, then set HF_TOKEN"
        yield Problem(key, saw, "a token that may read it", fix, severity="error" if gated else "warning")


@rule(
    "cosmos_reason/model-incomplete",
    "error",
    families=("cosmos_reason",),
    source="a snapshot whose download broke off fails after minutes of loading",
)
def model_incomplete(spec: Spec, facts: Facts, plan: object) -> Iterator[Problem]:
    """A local snapshot has its configuration, its tokenizer, and every byte of its weights."""
    for key, model in _models(spec, facts):
        if model.missing:
            saw = f"missing: {', '.join(model.missing[:8])}" + (", ..." if len(model.missing) > 8 else "")
            yield Problem(key, saw, "a whole snapshot", "download it again", file=str(model.directory))


@rule(
    "cosmos_reason/adapter-place",
    "error",
    families=("cosmos_reason",),
    source="an adapter loaded as a model is noise that still answers",
)
def adapter_place(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """An adapter is given as such, with a base that is none; what is called an adapter is one."""
    refs = {ref.label: ref for ref in spec.models()}
    model, base = facts.models.get("model"), facts.models.get("base_model")
    if base is not None and base.is_adapter:
        yield Problem(
            refs["base_model"].key, f"{base.location} is an adapter", "the model that the adapter was trained on"
        )
    if model is None or model.directory is None:
        return
    switch = "enable_lora" if spec.action == "inference" else "model.enable_lora"
    if model.is_adapter and "base_model" not in refs:
        fix = "train from its base or from a merged model" if spec.action == "train" else f"set {switch}=true"
        patch = None if spec.action == "train" else {switch: True}
        yield Problem(refs["model"].key, f"{model.location} is an adapter", "a whole model", fix, patch)
    if not model.is_adapter and "base_model" in refs:
        saw = f"true, but {model.location} has no adapter_config.json"
        yield Problem(switch, saw, "an adapter directory", f"set {switch}=false", {switch: False})


@rule(
    "cosmos_reason/lora-vision-conflict",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="upstream schema of policy.lora.target_modules",
)
def lora_vision_conflict(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """The vision tower is trained whole or by adapters, not both."""
    lora = spec.policy.lora
    if lora is None or "visual" not in (lora.modules_to_save or ()):
        return
    both = [name for name in TOWER_LAYERS if name in lora.target_modules]
    if both:
        saw = f"{' and '.join(both)}, while modules_to_save holds visual"
        yield Problem("policy.lora.target_modules", saw, "one of the two", "take visual out of modules_to_save")


@rule(
    "cosmos_reason/lora-power-of-two",
    "warning",
    families=("cosmos_reason",),
    actions=("train",),
    source="upstream schema: r and lora_alpha are powers of two",
)
def lora_power_of_two(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """LoRA's r and lora_alpha are powers of two, as upstream asks."""
    lora = spec.policy.lora
    for name, value in (("r", lora.r), ("lora_alpha", lora.lora_alpha)) if lora else ():
        if value != int(value) or int(value) & (int(value) - 1):
            better = 2 ** max(0, round(float(value)).bit_length() - 1)
            key = f"policy.lora.{name}"
            yield Problem(key, f"{value:g}", "a power of two", f"set it to {better}", {key: better})


@rule(
    "cosmos_reason/lora-init",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="these starts change the base weights, so that the saved adapter fits no base",
)
def lora_init(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Adapters start in a way that leaves the base model as it is: true, false or gaussian."""
    lora = spec.policy.lora
    if lora is not None and lora.init_lora_weights not in HONOURED_INIT:
        key = "policy.lora.init_lora_weights"
        yield Problem(
            key,
            str(lora.init_lora_weights),
            "true, false or gaussian: this one is not supported yet",
            "set it to true",
            {key: True},
        )


@rule(
    "cosmos_reason/patterns-exclusive",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="upstream: either what is frozen or what is trained, never both lists",
)
def patterns_exclusive(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """What is trained is said once: freeze_pattern or trainable_pattern; and each is a regular expression."""
    policy = spec.policy
    if policy.freeze_pattern and policy.trainable_pattern:
        yield Problem("policy.freeze_pattern", "given beside trainable_pattern", "one of the two")
    for name in ("freeze_pattern", "trainable_pattern"):
        for pattern in getattr(policy, name) or ():
            try:
                re.compile(pattern)
            except re.error as error:
                yield Problem(f"policy.{name}", f"{pattern!r}: {error}", "a regular expression")


@rule(
    "cosmos_reason/fp8",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="the engine computes in float32, float16 or bfloat16",
)
def fp8(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Training in 8-bit floats does not exist here yet."""
    key = "train.fp8.enable_fp8"
    if spec.train.fp8.enable_fp8:
        yield Problem(key, "true", "false: not supported yet", "use train.param_dtype=bfloat16", {key: False})
