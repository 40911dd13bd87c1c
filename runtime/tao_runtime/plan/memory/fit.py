"""Does a run fit a device, and if not, which nearest one does: the least costly combination of changes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field, JsonValue

from tao_runtime.errors import Frozen, InputError
from tao_runtime.plan.costs import MemoryPlan

Verdict = Literal["fits", "tight", "does not fit", "not known"]
USABLE: Final = 0.99  # of what a device is called: the driver keeps some
_DEVICES = re.compile(r"(?:(?P<count>[1-9]\d*)\s*x\s*)?(?P<size>\d+(?:\.\d+)?)\s*(?:GB|GiB|G)?", re.IGNORECASE)


class Devices(Frozen):
    """What a run should fit on."""

    count: int
    memory_bytes: int = Field(description="of one device")


class Nearest(Frozen):
    """A run that fits, and how to get to it."""

    overrides: dict[str, JsonValue] = Field(description="key=value overrides of the spec")
    effects: tuple[str, ...] = Field(description="what they change, in words")
    verdict: Verdict
    memory: MemoryPlan


class Fit(Frozen):
    """Whether a run fits, and the nearest one that does."""

    schema_version: Literal["tao-run/fit/1"] = Field(default="tao-run/fit/1", alias="schema")
    devices: Devices
    verdict: Verdict
    memory: MemoryPlan | None
    nearest: Nearest | None = Field(default=None, description="null: the run fits as it is, or nothing found does")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of a knob. `change` makes a trial of a trial; None: it cannot be applied to this one."""

    cost: int
    overrides: Mapping[str, JsonValue]
    effect: str
    change: Callable[[object], object | None]


def parse_devices(text: str) -> Devices:
    """Read 24GB or 8x80GB; makers' gigabytes are 2^30 bytes. Raises InputError."""
    match = _DEVICES.fullmatch(text.strip())
    size = float(match["size"]) if match else 0.0
    if match is None or size <= 0:
        raise InputError(f"--fit {text}: want the memory of a device, such as 24GB, or several, such as 8x80GB")
    return Devices(count=int(match["count"] or 1), memory_bytes=int(size * USABLE * 2**30))


def cut_over(world: int, cp: int) -> str:
    """Return in words what a mesh does with weights and sequences."""
    if world == 1:
        return "one process, which holds all weights"
    return f"weights cut over {world} processes" + (f", sequences over {cp}" if cp > 1 else "")


def judge(memory: MemoryPlan | None, devices: Devices) -> Verdict:
    """Return fits if even the high end does, tight if the expected value does."""
    if memory is None:
        return "not known"
    if memory.total.high <= devices.memory_bytes:
        return "fits"
    return "tight" if memory.total.expected <= devices.memory_bytes else "does not fit"


def nearest(
    trial: object,
    knobs: Sequence[Sequence[Option]],
    estimate: Callable[[object], MemoryPlan | None],
    devices: Devices,
) -> Nearest | None:
    """Return the least costly combination, one option of each knob, that fits; failing that, one that is tight."""
    combinations = sorted(itertools.product(*knobs), key=lambda options: sum(one.cost for one in options))
    fallback: Nearest | None = None
    for options in combinations:
        changed: object | None = trial
        for option in options:
            changed = option.change(changed) if changed is not None else None
        memory = estimate(changed) if changed is not None else None
        verdict = judge(memory, devices)
        if memory is None or verdict not in {"fits", "tight"} or (verdict == "tight" and fallback is not None):
            continue
        overrides = {key: value for option in options for key, value in option.overrides.items()}
        effects = tuple(option.effect for option in options if option.effect)
        found = Nearest(overrides=overrides, effects=effects, verdict=verdict, memory=memory)
        if verdict == "fits":
            return found
        fallback = found
    return fallback
