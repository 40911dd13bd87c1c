"""Names of parameters: what a spec selects, adapts or skips exists in the network, by upstream's own names."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tao_runtime.data.facts import Facts
from tao_runtime.data.families import network_names
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.structured import VIDEO

ADAPTER: Final = "lora_"  # part of every adapter's name
_SILENT = "upstream warns, freezes everything else, and trains nothing"


def _near(key: str, names: Sequence[str]) -> str | None:
    parts = sorted({part for name in names for part in name.split(".")})
    near = difflib.get_close_matches(key, parts, n=1)
    return f"did you mean {near[0]}?" if near else None


@rule("video/keys-to-select", "error", families=VIDEO, actions=("train",), source=_SILENT)
def keys_to_select(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Each key that selects parameters, or a multiplier of their rate, is part of some parameter's name."""
    names = network_names(spec.family).original_names(spec.model.size)
    adapters = plan.model.lora is not None
    for where in ("keys_to_select", "lr_multipliers"):
        for key in getattr(spec.optimizer, where):
            if key in ADAPTER or ADAPTER in key:
                if not adapters:
                    yield Problem(
                        f"optimizer.{where}", f"{key!r}, and no adapters", "adapters, or a name of the network"
                    )
            elif not any(key in name for name in names):
                saw = f"{key!r} is in none of {len(names)} parameter names"
                yield Problem(f"optimizer.{where}", saw, "part of a name", _near(key, names))


@rule("video/lora-targets", "error", families=VIDEO, actions=("train",), source=_SILENT)
def lora_targets(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Each layer that gets adapters exists in the network."""
    if plan.model.lora is None:
        return
    dry = network_names(spec.family)
    modules = {dry.to_library(name).rpartition(".")[0] for name in dry.original_names(spec.model.size)}
    given = [name.strip() for name in spec.model.lora_target_modules.split(",") if name.strip()]
    for name, target in zip(given, plan.model.lora.target_modules, strict=True):
        if not any(module == target or module.endswith("." + target) for module in modules):
            saw = f"{name!r} is none of the network's layers"
            yield Problem("model.lora_target_modules", saw, "names of layers", _near(target, sorted(modules)))


@rule(
    "video/lora-selected",
    "error",
    families=VIDEO,
    actions=("train",),
    source="seed guide, model.lora_enabled: pair it with keys_to_select = [lora_]",
)
def lora_selected(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Where adapters are trained, the keys that select parameters let them through."""
    keys = plan.optimizer.keys_to_select
    if plan.model.lora is not None and keys and not any(key in ADAPTER or ADAPTER in key for key in keys):
        where = "optimizer.keys_to_select"
        yield Problem(where, f"{list(keys)}, and adapters", f"[{ADAPTER}], or an empty list", "set it to [lora_]",
                      {where: [ADAPTER]})  # fmt: skip
