"""The meter: sums on the device while training, numbers only at log steps, so that no step waits for a metric."""

from __future__ import annotations

import math
import resource
import time
from contextlib import AbstractContextManager

import torch

from tao_runtime.engine.dist import World
from tao_runtime.engine.loggers import MetricLogger
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.run_dir import RunLog
from tao_runtime.engine.source import CacheCounts
from tao_runtime.engine.stopwatch import Stopwatch
from tao_runtime.errors import RunError

# What the time of a step is made of; averages over ranks.
PHASES = ("data", "forward", "backward", "optimizer", "checkpoint", "validate")


class Meter:
    """Collects the metrics of the steps since the last report."""

    def __init__(
        self,
        log: RunLog,
        loggers: list[MetricLogger],
        world: World,
        progress: StepProgress,
        *,
        peak_flops: float | None = None,
    ) -> None:
        """`peak_flops`: what one device does per second in the type of the run, dense; None: not known."""
        self.log = log
        self.peak_flops = peak_flops
        self.loggers = loggers
        self.world = world
        self.progress = progress
        self.latest: dict[str, float] = {}
        self._stopwatch = Stopwatch(world.device)
        self._reset()

    def _reset(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._norm = torch.zeros(())
        self._tokens = self._steps = 0
        self._processed = 0.0
        self._zeroed = torch.zeros(())
        self._weight, self._flops = torch.zeros(()), 0.0
        self._since = time.perf_counter()
        self._cpu_since = time.process_time()

    def time(self, phase: str) -> AbstractContextManager[None]:
        """Add what runs inside to a phase: data, forward, backward, optimizer, checkpoint, validate."""
        return self._stopwatch.time(phase)

    def add_loss(self, numerator: torch.Tensor) -> None:
        """Keep a micro-batch's numerator on its device."""
        self._losses.append(numerator)

    def add_processed(self, tokens: float) -> None:
        """Count the tokens that this rank's network ran over, padding and all."""
        self._processed += tokens

    def add_zeroed(self, count: torch.Tensor) -> None:
        """Count numbers of this rank's gradients that were not finite and were set to 0."""
        self._zeroed = self._zeroed + count

    def add_step(self, *, weight: torch.Tensor, tokens: int, flops: float, norm: torch.Tensor) -> None:
        """Count a step of the global batch: supervised tokens, all tokens, arithmetic that training on them needs."""
        self._weight = self._weight + weight
        self._tokens += tokens
        self._flops += flops
        self._steps += 1
        self._norm = norm

    def report(self, step: int, *, lr: float, epoch: int, cache: CacheCounts) -> None:
        """Write the metrics since the last report. Collective.

        Raises:
            RunError: the loss is not finite.
        """
        mine = torch.stack(self._losses).double().sum().item()
        phases = self._stopwatch.read()
        seconds = [phases.get(phase, 0.0) for phase in PHASES]
        total, processed, zeroed, *seconds = self.world.sum([mine, self._processed, float(self._zeroed), *seconds])
        weight = float(self._weight)
        elapsed = time.perf_counter() - self._since
        values = {
            "train/loss": total / max(weight, 1.0),
            "train/epoch": float(epoch),
            "optimizer/lr": lr,
            "optimizer/grad_norm": float(self._norm),
            "train/tokens": float(self._tokens),
            "train/supervised_tokens": weight,
            "train/tokens_per_s": self._tokens / elapsed,
            "optimizer/zeroed_gradients": zeroed,
            "train/padding_share": max(0.0, 1.0 - self._tokens / max(processed, 1.0)),
            **self._utilisation(elapsed),
            "time/step_s": elapsed / self._steps,
            "time/cpu_s": (time.process_time() - self._cpu_since) / self._steps,
            "cache/hit_share": cache.hits / max(cache.hits + cache.misses, 1),
            "memory/peak_bytes": float(_peak_bytes()),
        }
        for phase, spent in zip(PHASES, seconds, strict=True):
            values[f"time/{phase}_s"] = spent / self.world.size / self._steps
        self._emit(step, values)
        if not math.isfinite(values["train/loss"]) or not math.isfinite(values["optimizer/grad_norm"]):
            raise RunError(
                f"step {step}: loss {values['train/loss']}, gradient norm {values['optimizer/grad_norm']}; want finite "
                "numbers. Everything committed is kept. Fix: lower train.optm_lr, or look at the records of this step"
            )
        self.progress.advance(by=0, note=f"loss {values['train/loss']:.4f}  {values['train/tokens_per_s']:.0f} tok/s")
        self._reset()

    def _utilisation(self, elapsed_s: float) -> dict[str, float]:
        """Return useful arithmetic per second, and as a share of what the devices can do, where that is known."""
        if not self._flops:
            return {}
        rate = self._flops / elapsed_s
        found = {"train/useful_tflops_per_s": rate / 1e12}
        if self.peak_flops:
            found["train/mfu"] = rate / (self.peak_flops * self.world.size)
        return found

    def report_validation(self, step: int, loss: float) -> None:
        """Write the validation loss."""
        self._emit(step, {"val/avg_loss": loss})
        self.progress.say(f"step {step}: val/avg_loss {loss:.4f}")

    def _emit(self, step: int, values: dict[str, float]) -> None:
        # Of records: JSON has no name for other numbers.
        self.latest = {**self.latest, **{name: value for name, value in values.items() if math.isfinite(value)}}
        self.log.metrics(step, {name: round(value, 10) for name, value in values.items()})
        for logger in self.loggers:
            logger.log(step, values)


def _peak_bytes() -> int:
    """Return the peak of device memory, or of resident memory on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
