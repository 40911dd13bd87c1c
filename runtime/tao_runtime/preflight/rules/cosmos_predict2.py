"""Rules of Predict2's specs: keys without effect. What else is judged is shared by all that makes video."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tao_runtime.data.facts import Facts
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.effect import without_effect
from tao_runtime.preflight.rules.structured import effect

NO_EFFECT: Final[dict[str, dict[str, str]]] = {
    "train": effect.TRAIN,
    "evaluate": {**effect.ANSWER, **effect.FOLDER},
    "inference": effect.REQUEST,
}


@rule(
    "cosmos_predict2/no-effect",
    "note",
    families=("cosmos_predict2",),
    source="this package: accepted so that specs of the upstream code load",
)
def no_effect(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """A key that differs from its default and changes nothing here is named."""
    yield from without_effect(spec, NO_EFFECT[spec.action])
