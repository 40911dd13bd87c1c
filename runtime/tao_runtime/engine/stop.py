"""Stopping on request: a signal is noted, and every rank ends at the same step boundary."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist

from tao_runtime.engine.dist import World
from tao_runtime.engine.supervise import STOP_SIGNALS

# One request can arrive several times: a scheduler signals every process, and torchrun and the launcher pass it on.
SAME_REQUEST_S = 2.0


class StopRequest:
    """Whether this run was asked to stop. The first signal asks; another, later than the echo of the first, kills."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.signal: str | None = None
        self._asked_at = 0.0
        self._under_way: tuple[dist.Work, torch.Tensor] | None = None

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """Signal handler: note the first signal; die of a second one."""
        if self.signal is None:
            self.signal, self._asked_at = signal.Signals(number).name, time.monotonic()
        elif time.monotonic() - self._asked_at > SAME_REQUEST_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def agreed(self) -> bool:
        """Return whether all ranks stop here; called once per step, by every rank, and the same on every rank.

        The ranks' flags are reduced while the next step runs, and read after it: a stop comes one step late, and no
        step waits for a message or for the device.
        """
        if self.world.size == 1:
            return self.signal is not None
        flag = torch.tensor([self.signal is not None], dtype=torch.int32)
        work = dist.all_reduce(flag, group=self.world.control, async_op=True)
        before, self._under_way = self._under_way, (work, flag)
        return before is not None and _read(*before)

    def settle(self) -> None:
        """Wait for the message under way, so that no rank leaves while another waits for it."""
        if self._under_way is not None:
            _read(*self._under_way)
            self._under_way = None


def _read(work: dist.Work, flag: torch.Tensor) -> bool:
    work.wait()
    return bool(flag.item())


@contextmanager
def listen_for_stop(world: World) -> Iterator[StopRequest]:
    """Note the stop signals instead of dying of them, while the context lasts."""
    request = StopRequest(world)
    before = {number: signal.signal(number, request.note) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
