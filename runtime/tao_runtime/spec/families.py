"""The registry of model families. A new family adds its module and one line to FAMILIES."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tao_runtime.errors import InputError
from tao_runtime.spec import cosmos3_reasoner, cosmos3_vision, cosmos_predict1, cosmos_predict2, cosmos_reason
from tao_runtime.spec.base import Spec


@dataclass(frozen=True, slots=True)
class Family:
    """A model family and its spec dialect."""

    name: str
    title: str
    actions: Mapping[str, type[Spec]]


def _family(title: str, *specs: type[Spec]) -> Family:
    return Family(specs[0].family, title, {spec.action: spec for spec in specs})


_LIST = (
    _family(
        "Video reasoner (Qwen3-VL architecture), TAO dialect",
        cosmos_reason.TrainSpec,
        cosmos_reason.EvaluateSpec,
        cosmos_reason.QuantizeSpec,
        cosmos_reason.InferenceSpec,
    ),
    _family(
        "Cosmos3 reasoner, structured dialect (task vlm)",
        cosmos3_reasoner.TrainSpec,
        cosmos3_reasoner.EvaluateSpec,
        cosmos3_reasoner.InferenceSpec,
    ),
    _family(
        "Cosmos3 video generator, structured dialect (task vfm)",
        cosmos3_vision.TrainSpec,
        cosmos3_vision.EvaluateSpec,
        cosmos3_vision.InferenceSpec,
    ),
    _family(
        "Cosmos-Predict1 text to video, structured dialect (task text2world)",
        cosmos_predict1.TrainSpec,
        cosmos_predict1.EvaluateSpec,
        cosmos_predict1.InferenceSpec,
    ),
    _family(
        "Cosmos-Predict2 picture or clip to video, structured dialect (task video2world)",
        cosmos_predict2.TrainSpec,
        cosmos_predict2.EvaluateSpec,
        cosmos_predict2.InferenceSpec,
    ),
)
FAMILIES: Mapping[str, Family] = {family.name: family for family in _LIST}


def spec_classes(*, family: str | None = None, action: str | None = None) -> tuple[type[Spec], ...]:
    """Return the specs of a family, an action, or all. Raises InputError for a name that does not exist."""
    if family is not None and family not in FAMILIES:
        raise InputError(f"family {family}: does not exist; want one of {', '.join(FAMILIES)}")
    chosen = [FAMILIES[family]] if family else list(FAMILIES.values())
    found = tuple(spec for item in chosen for name, spec in item.actions.items() if action in (None, name))
    if not found:
        known = sorted({name for item in chosen for name in item.actions})
        raise InputError(f"action {action}: does not exist; want one of {', '.join(known)}")
    return found


def known_names(spec: type[Spec], top_keys: Iterable[str]) -> int:
    """Return how many of a file's top-level names this spec knows."""
    names = {*spec.model_fields, *(alias.split(".")[0] for alias in spec.aliases)}
    return sum(name in names for name in set(top_keys))
