"""Rules of the vision family's specs: attention, and keys without effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tao_runtime.data.facts import Facts
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.effect import without_effect
from tao_runtime.preflight.rules.structured import effect

_REASONER: Final = "it is for task vlm; upstream drops it"
NO_EFFECT: Final[dict[str, dict[str, str]]] = {
    "train": {
        **effect.TRAIN,
        "model.attn_implementation": _REASONER,
        "model.backbone.model_name": _REASONER,
        "model.backbone.safetensors_path": _REASONER,
    },
    "evaluate": effect.ANSWER,
    "inference": {
        **effect.REQUEST,
        "inference.offload_text_encoder_model": "this model has none: its network reads the prompt",
    },
}


@rule(
    "cosmos3_vision/attention",
    "error",
    families=("cosmos3_vision",),
    actions=("train",),
    source="three_way needs NATTEN's sparse kernels, flex is upstream's older layout",
)
def attention(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """The two towers attend in the layout two_way; three_way and flex do not exist here."""
    layout, key = spec.model.joint_attn_implementation, "model.joint_attn_implementation"
    if layout != "two_way":
        yield Problem(key, layout, f"two_way: {layout} does not exist here", "set it to two_way", {key: "two_way"})


@rule(
    "cosmos3_vision/no-effect",
    "note",
    families=("cosmos3_vision",),
    source="this package: accepted so that specs of the upstream framework load",
)
def no_effect(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """A key that differs from its default and changes nothing here is named."""
    yield from without_effect(spec, NO_EFFECT[spec.action])
