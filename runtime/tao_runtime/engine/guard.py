"""Bad steps: a gradient that is not finite, or far larger than usual. Truly skipped, and counted."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

import torch

from tao_runtime.engine.optimizer import ShardOptimizer
from tao_runtime.engine.run_dir import RunLog
from tao_runtime.plan.model import BadStepPlan

# Norms that "usual" is the median of, and how many there must be before a spike can be told from a start.
HISTORY, ENOUGH = 32, 16


@dataclass(frozen=True, slots=True)
class Streak:
    """Bad steps in a row, as many as the plan allows."""

    first: int
    last: int
    norm: float
    limit: float  # what a norm had to stay below

    def sentence(self) -> str:
        """Say it to a person."""
        bound = "finite numbers" if math.isinf(self.limit) else f"at most {self.limit:.4g}, and finite"
        steps, many = f"steps {self.first} to {self.last}", self.last - self.first + 1
        return f"{steps}: the gradient norm is {self.norm:.4g} {many} times in a row; want {bound}"


class StepGuard:
    """Steps the optimizer, unless the step is bad: then no weight, moment or step count of it changes.

    The learning rate is a function of the step and goes on: a skipped step counts as one of the plan's.
    """

    def __init__(self, optimizer: ShardOptimizer, log: RunLog, plan: BadStepPlan) -> None:
        self.optimizer = optimizer
        self.log = log
        self.plan = plan
        self.skipped: list[int] = []
        self.streak: Streak | None = None  # set when there are too many; the caller decides
        self._row = 0
        self._usual: deque[float] = deque(maxlen=HISTORY)
        self._limit = math.inf
        self._waiting: tuple[int, float, torch.Tensor, torch.cuda.Event | None] | None = None
        self._bad = torch.zeros(())

    def step(self, norm: torch.Tensor) -> None:
        """Step, or do not. `norm`: of the whole gradient, on its device, the same on every rank.

        The fused kernels take a flag on the device and decide there, as they do for loss scaling: no transfer. The
        others need the host to know; on a CPU that costs nothing, on a GPU it is one wait a step.
        """
        self._limit = self._spike_limit()
        self._bad = (~(norm <= self._limit)).float() if math.isfinite(self._limit) else (~torch.isfinite(norm)).float()
        if self.optimizer.fused:
            self.optimizer.step(skip=self._bad)
        elif not bool(self._bad):
            self.optimizer.step()

    def _spike_limit(self) -> float:
        """Return what a norm must not exceed: a factor times the median of the last good ones."""
        if self.plan.spike_factor is None or len(self._usual) < ENOUGH:
            return math.inf
        return self.plan.spike_factor * statistics.median(self._usual)

    def cleaned(self, value: torch.Tensor) -> torch.Tensor:
        """Return a number of this step, 0 if it was skipped: one bad step must not blind the metrics of the others."""
        return torch.where(self._bad.to(value.device) > 0, torch.zeros_like(value), value)

    def note(self, step: int, norm: torch.Tensor) -> None:
        """Remember what became of a step (from 1); looks at the one before.

        On a GPU the number travels while the next step is being computed: the host reads it when that one is queued
        already, so that the device never waits. Every rank reads at the same step, so that all of them stop together.
        """
        before = self._waiting
        value = norm.detach().float()
        if value.is_cuda:
            host = torch.empty((), pin_memory=True)
            host.copy_(value, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            self._waiting = (step, self._limit, host, event)
        else:
            self._waiting = (step, self._limit, value, None)
            self.settle()
        if before is not None:
            self._read(*before)

    def settle(self) -> None:
        """Look at the last step, too."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._read(*waiting)

    def forget(self) -> None:
        """Begin to count anew: the weights are those of an earlier step again."""
        self._row, self.streak = 0, None
        self._usual.clear()

    def _read(self, step: int, limit: float, norm: torch.Tensor, event: torch.cuda.Event | None) -> None:
        if event is not None:
            event.synchronize()
        value = float(norm)
        if value <= limit and math.isfinite(value):
            self._row = 0
            self._usual.append(value)
            return
        self._row += 1
        self.skipped.append(step)
        self.log.status(
            "skipped-step",
            step=step,
            grad_norm=str(value),
            in_a_row=self._row,
            limit=None if math.isinf(limit) else limit,
        )
        if self._row >= self.plan.in_a_row:
            self.streak = Streak(self.skipped[-self._row], step, value, limit)
