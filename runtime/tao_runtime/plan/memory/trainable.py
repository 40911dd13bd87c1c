"""Which parameters a plan trains, by name, and the adapters it adds: what the engine does to a network, without it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tao_runtime.plan.memory.network import Network
from tao_runtime.plan.model import LoraPlan, ModelPlan


@dataclass(frozen=True, slots=True)
class Choice:
    """Only parameters with one of the keys in their upstream name are trained."""

    keys: tuple[str, ...]
    original_name: Callable[[str], str]

    def takes(self, name: str) -> bool:
        original = self.original_name(name)
        return not self.keys or any(key in original for key in self.keys)


def trainable_shapes(network: Network, plan: ModelPlan, choice: Choice | None = None) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all that is trained. A pattern that is no regular expression matches nothing."""
    frozen = plan.lora is not None
    saved = set(plan.lora.modules_to_save) if plan.lora else set()
    trained = {name: not frozen or bool(saved & set(name.split("."))) for name in network.shapes}
    if plan.trainable_pattern:
        trained = dict.fromkeys(trained, False)
    shapes = dict(network.shapes)
    if plan.lora is not None:
        added = dict(lora_shapes(network, plan.lora))
        shapes |= added
        trained |= dict.fromkeys(added, not plan.trainable_pattern)
    rules = [(pattern, False) for pattern in plan.freeze_pattern] + [(one, True) for one in plan.trainable_pattern]
    rules += [(rf"^{re.escape(key)}(\.|$)", value) for key, value in plan.trainable_map.items()]
    for pattern, value in rules:
        try:
            found = re.compile(pattern)
        except re.error:
            continue  # preflight says so
        trained.update({name: value for name in trained if found.search(name)})
    return {name: shapes[name] for name, on in trained.items() if on and (choice is None or choice.takes(name))}


def lora_shapes(network: Network, plan: LoraPlan) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the matrices A [r, inputs] and B [outputs, r] of every layer that LoRA is put on, as peft chooses them."""
    for module, outputs, inputs in network.linears():
        if _targeted(module, plan.target_modules):
            rank = next((r for key, r in plan.rank_pattern.items() if _matches(key, module)), plan.r)
            yield f"{module}.lora_A.weight", (rank, inputs)
            yield f"{module}.lora_B.weight", (outputs, rank)


def _targeted(module: str, targets: tuple[str, ...]) -> bool:
    if targets == ("all-linear",):
        return module != "lm_head"  # peft leaves the output layer out
    return any(module == target or module.endswith(f".{target}") for target in targets)


def _matches(key: str, module: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({key})$", module) is not None
    except re.error:
        return False


def total(shapes: dict[str, tuple[int, ...]]) -> int:
    """Return how many numbers shapes hold."""
    return sum(math.prod(shape) for shape in shapes.values())
