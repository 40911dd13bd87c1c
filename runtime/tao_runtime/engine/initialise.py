"""Parameters that the spec keeps from being loaded: which they are, and how the library begins them.

One module at a time is given memory: a rank never holds more than its largest one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn

from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.weights import clean_name
from tao_runtime.errors import RunError

LIVE, AVERAGED = "net.", "net_ema."  # upstream keeps a second network for the averages


def skipped(model: nn.Module, family: WetFamily, keys: tuple[str, ...]) -> frozenset[str]:
    """Return the parameters with one of `keys` in their upstream name: they are not loaded.

    Averages and adapters are never loaded from a base: a key that means those matches, and skips nothing more.

    Raises:
        RunError: a key is in no name.
    """
    names = {name: family.original_name(clean_name(name)) for name, _ in model.named_parameters()}
    averaged = {name.replace(LIVE, AVERAGED, 1) for name in names.values() if name.startswith(LIVE)}
    for key in keys:
        if not any(key in name for name in {*names.values(), *averaged}):
            raise RunError(
                f"checkpoint.keys_to_skip_loading: {key!r} is in no tensor's name, such as {min(names.values())}; want "
                "a part of upstream's names. Fix: correct it, or take it out"
            )
    return frozenset(name for name, original in names.items() if any(key in original for key in keys))


@torch.no_grad()
def initial_values(
    build: Callable[[], nn.Module], names: Collection[str], *, seed: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name in the base, value) of parameters as the library initialises them, the same on every rank.

    Each module draws from a generator seeded by (seed, its name).

    Raises:
        RunError: a module neither says how it begins, nor begins with one number everywhere.
    """
    with _remembered(), init_empty_weights(include_buffers=False):
        twin: Any = build()
    own = getattr(twin, "_init_weights", None)  # of transformers; diffusers leaves it to the modules
    for place, module in twin.named_modules():
        wanted = [name for name, _ in module.named_parameters(recurse=False) if f"{place}.{name}".strip(".") in names]
        if not wanted:
            continue
        module.to_empty(device="cpu", recurse=False)
        digest = hashlib.sha256(f"{seed}/{place}".encode()).digest()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            _initialise(module, place, own)
        for name in wanted:
            yield f"{place}.{name}".strip("."), module.get_parameter(name).detach()
        module.to(device="meta")


def _initialise(module: nn.Module, place: str, own: Callable[[nn.Module], None] | None) -> None:
    if own is not None:
        own(module)
        return
    reset = getattr(module, "reset_parameters", None)
    if reset is not None:
        reset()
        return
    for name, parameter in module.named_parameters(recurse=False):
        constant = module.__dict__.get(REMEMBERED, {}).get(name)
        if constant is None:
            kind = type(module).__name__
            raise RunError(
                f"checkpoint.keys_to_skip_loading: {place}.{name} cannot be skipped: nothing says how a {kind} begins. "
                "Fix: narrow the keys"
            )
        parameter.fill_(constant)


REMEMBERED = "_begins_with"


@contextmanager
def _remembered() -> Iterator[None]:
    """Remember the number that a parameter is full of when its module makes it, before it loses its memory."""
    register = nn.Module.register_parameter

    def remember(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta and not hasattr(module, "reset_parameters"):
            low, high = (float(end) for end in torch.aminmax(parameter.detach()))
            if low == high:
                module.__dict__.setdefault(REMEMBERED, {})[name] = low
        register(module, name, parameter)

    nn.Module.register_parameter = remember  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign, assignment]
