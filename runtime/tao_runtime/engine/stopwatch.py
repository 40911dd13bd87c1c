"""How long the phases of a step take: clock on a CPU, events on a GPU, read only when asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Sums the seconds of named phases. On a GPU a phase is timed on the device and costs no synchronisation."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = {}
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def time(self, phase: str) -> Iterator[None]:
        """Add what runs inside to a phase."""
        if self._on_gpu:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._events.append((phase, start, end))
            return
        begin = time.perf_counter()
        yield
        self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - begin

    def read(self) -> dict[str, float]:
        """Return the seconds of each phase since the last call; waits for the device."""
        if self._events:
            torch.cuda.synchronize()
            for phase, start, end in self._events:
                self._seconds[phase] = self._seconds.get(phase, 0.0) + start.elapsed_time(end) / 1000
            self._events.clear()
        seconds, self._seconds = self._seconds, {}
        return seconds
