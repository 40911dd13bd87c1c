"""Steps whose gradient is not finite: truly skipped, counted, and after a few in a row the end of the run."""

from __future__ import annotations

import math

import torch

from tao_runtime.engine.run_dir import RunLog
from tao_runtime.errors import RunError

IN_A_ROW = 3


class StepGuard:
    """Steps the optimizer, unless the gradient is not finite: then no weight, moment or step count of it changes.

    The learning rate is a function of the step and goes on: a skipped step counts as one of the plan's.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, log: RunLog) -> None:
        self.optimizer = optimizer
        self.log = log
        self.skipped: list[int] = []
        self._row = 0
        self._waiting: tuple[int, torch.Tensor, torch.cuda.Event | None] | None = None
        self._bad = torch.zeros(())

    def step(self, norm: torch.Tensor) -> None:
        """Step, or do not. `norm`: of the whole gradient, on its device, the same on every rank.

        The fused kernels take a flag on the device and decide there, as they do for loss scaling: no transfer. The
        others need the host to know; on a CPU that costs nothing, on a GPU it is one wait a step.
        """
        self._bad = (~torch.isfinite(norm)).float()
        if all(group.get("fused") for group in self.optimizer.param_groups):
            self.optimizer.found_inf = self._bad  # type: ignore[attr-defined]
            self.optimizer.step()
            # Not left behind: a checkpoint makes empty state by a step of its own.
            del self.optimizer.found_inf  # type: ignore[attr-defined]
        elif not bool(self._bad):
            self.optimizer.step()

    def cleaned(self, value: torch.Tensor) -> torch.Tensor:
        """Return a number of this step, 0 if it was skipped: one bad step must not blind the metrics of the others."""
        return torch.where(self._bad.to(value.device) > 0, torch.zeros_like(value), value)

    def note(self, step: int, norm: torch.Tensor) -> None:
        """Remember what became of a step (from 1); looks at the one before.

        On a GPU the flag travels while the next step is being computed: the host reads it when that one is queued
        already, so that the device never waits. Every rank reads at the same step, so that all of them stop together.

        Raises:
            RunError: too many in a row were skipped.
        """
        before = self._waiting
        value = norm.detach().float()
        if value.is_cuda:
            host = torch.empty((), pin_memory=True)
            host.copy_(value, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            self._waiting = (step, host, event)
        else:
            self._waiting = (step, value, None)
            self.settle()
        if before is not None:
            self._read(*before)

    def settle(self) -> None:
        """Look at the last step, too."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._read(*waiting)

    def _read(self, step: int, norm: torch.Tensor, event: torch.cuda.Event | None) -> None:
        if event is not None:
            event.synchronize()
        value = float(norm)
        if math.isfinite(value):
            self._row = 0
            return
        self._row += 1
        self.skipped.append(step)
        self.log.status("skipped-step", step=step, grad_norm=str(value), in_a_row=self._row)
        if self._row >= IN_A_ROW:
            raise RunError(
                f"steps {self.skipped[-IN_A_ROW]} to {step}: the gradient norm is {value} {IN_A_ROW} times in a row; "
                "want finite numbers. None of these steps changed a weight, and what is committed is kept. "
                "Fix: lower train.optm_lr, or look at the records of these steps"
            )
