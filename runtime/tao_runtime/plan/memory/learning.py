"""What of a network learns, and so which inputs of its layers are kept: a weight that learns needs what it multiplied.

A frozen linear layer passes gradients on with its weight alone. An adapter keeps its input, after dropout its own copy
and which numbers were dropped (peft 0.19), whatever the layer beneath it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.plan.model import LoraPlan

MASK: Final = 1  # byte of a number that is dropped or not, as a GPU keeps it
_NUMBER = re.compile(r"\.\d+\.")


@dataclass(frozen=True, slots=True)
class Learning:
    """Parameters that learn, by name; those of all blocks of a stack are one."""

    shapes: Mapping[str, tuple[int, ...]]
    dropped: bool = False  # adapters drop inputs

    def of(self, prefix: str) -> Learning:
        """Return what learns below a name."""
        below = {name.removeprefix(prefix): shape for name, shape in self.shapes.items() if name.startswith(prefix)}
        return Learning(below, self.dropped)

    def beside(self, *prefixes: str) -> bool:
        """Whether anything else learns than what is below some names."""
        return any(not name.startswith(prefixes) for name in self.shapes)

    def norms(self, widths: Mapping[str, int]) -> int:
        """Return numbers kept of one token by norms whose own weight learns: their result before it."""
        return sum(width for module, width in widths.items() if f"{module}.weight" in self.shapes)

    def inputs(self, modules: Iterable[str], width: int, compute: int, *, kept: bool = False) -> int:
        """Return bytes kept of one token that linear layers take as their input; `kept`: it is, in any case."""
        found, needed = 0, False
        for module in modules:
            adapter = self.shapes.get(f"{module}.lora_A.weight")
            needed |= f"{module}.weight" in self.shapes or (adapter is not None and not self.dropped)
            if adapter is not None:
                found += adapter[0] * compute + width * (compute + MASK) * self.dropped
        return found + width * compute * (needed and not kept)

    def results(self, compute: int) -> int:
        """Return bytes of one token that adapters make by products."""
        return compute * sum(shape[0] for name, shape in self.shapes.items() if ".lora_" in name)


def make_learning(trained: Mapping[str, tuple[int, ...]], lora: LoraPlan | None) -> Learning:
    """Return what learns, from the shapes of all that is trained."""
    shapes = {_NUMBER.sub(".*.", name, count=1): shape for name, shape in trained.items()}
    return Learning(shapes, dropped=lora is not None and lora.dropout > 0)


def gradients_of_widest(width: int, compute: int, learning: Learning, narrowing: str) -> int:
    """Return bytes of one token that going back through an MLP adds to what it keeps: two gradients as wide as it is.

    The first is there before what the layer that narrows it again has kept is given up, the second after.
    """
    kept = learning.inputs([narrowing], width, compute)
    return max(width * compute, 2 * width * compute - kept)
