"""Parts of a pipeline that take turns on the device: each is there only while it works, and rests in host memory.

The library's own offloading (diffusers 0.42.1, enable_model_cpu_offload) moves all parts or none, and leaves the video
tokenizer beside the network where it has encoded a given picture before. Here one part that takes turns is on the
device at a time. The library looks for an accelerate hook to know where to compute, so that is what this is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from torch import nn

METHODS = ("encode", "decode")  # what is called of a tokenizer, beside its forward


class Turns:
    """The parts of one pipeline that take turns."""

    def __init__(
        self, pipeline: Any, names: Sequence[str], device: torch.device, *, rest: torch.device | str = "cpu"
    ) -> None:
        """Put every other part on the device, and let the named ones take turns. The safety checker moves itself."""
        self.device = device
        self.rest = torch.device(rest)
        self.moves: list[tuple[str, str]] = []  # (part, in or out), in order
        self._there: tuple[str, nn.Module] | None = None
        for name, part in pipeline.components.items():
            if not isinstance(part, nn.Module) or name == "safety_checker":
                continue
            if name in names:
                self._take_turns(name, part)
            else:
                part.to(device)

    def _take_turns(self, name: str, part: nn.Module) -> None:
        part.to(self.rest)
        add_hook_to_module(part, _Turn(self, name, self.device))
        for method in METHODS:
            # Autoencoders of diffusers call the hook themselves, others do not; a second call moves nothing.
            if callable(inner := getattr(part, method, None)):
                setattr(part, method, self._after_entering(name, part, inner))

    def _after_entering(self, name: str, part: nn.Module, inner: Any) -> Any:
        def run(*args: Any, **options: Any) -> Any:
            self.enter(name, part)
            return inner(*args, **options)

        return run

    def enter(self, name: str, part: nn.Module) -> None:
        """Bring a part to the device, and the one that was there to rest."""
        if self._there is not None and self._there[0] == name:
            return
        self.end()
        part.to(self.device)
        self.moves.append((name, "in"))
        self._there = name, part

    def end(self) -> None:
        """Bring the part that is on the device to rest: until the next clip, none is there."""
        if self._there is None:
            return
        name, part = self._there
        part.to(self.rest)
        self.moves.append((name, "out"))
        self._there = None


class _Turn(ModelHook):  # type: ignore[misc]
    def __init__(self, turns: Turns, name: str, device: torch.device) -> None:
        self.turns = turns
        self.name = name
        self.execution_device = device  # where the library puts what goes in

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        self.turns.enter(self.name, module)
        return args, kwargs
