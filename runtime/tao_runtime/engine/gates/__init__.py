"""The gates: what must be true at the start, in the first step and at the end, before a run may be called green."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from torch import nn

from tao_runtime.engine.build import Built
from tao_runtime.engine.dist import World
from tao_runtime.engine.families import Batch, WetFamily
from tao_runtime.engine.gates import fingerprint, first_step, start
from tao_runtime.engine.gates.verdicts import Verdicts, listed
from tao_runtime.engine.run_dir import RunLog
from tao_runtime.engine.weights import LoadError, clean_name
from tao_runtime.errors import RunError
from tao_runtime.plan.model import TrainPlan

# How many steps the gates of the first step wait for a batch with media, where the first ones are all text.
PATIENCE = 20


class Gates:
    """Runs the gates of one training. Every method is collective; a gate that fails is recorded, then raises."""

    def __init__(self, log: RunLog, world: World, family: WetFamily, plan: TrainPlan) -> None:
        self.world = world
        self.family = family
        self.plan = plan
        self.verdicts = Verdicts(log)
        self._steps = 0
        self._open = True
        self._probe: first_step.Probe | None = None
        self._batches: list[tuple[int, torch.Tensor, float]] = []  # (weight, numerator, that of guessing) of this step

    @contextmanager
    def building(self) -> Iterator[None]:
        """Record what stops a model from being built as a gate that failed."""
        try:
            yield
        except LoadError as error:
            better = start.explain_load(error, error.missing, error.expected)
            self.verdicts.log.gate("base-weights", ok=False, problems=[*str(better).splitlines()[:5]])
            raise better from error
        except RunError as error:
            self.verdicts.log.gate("trainable", ok=False, problems=[str(error)])
            raise

    def check_start(self, built: Built, directory: Path) -> None:
        """Step 0, before a checkpoint is loaded: the base, the trainable set; remembers every tensor."""
        with self.verdicts.timed():
            start.gate_base(self.verdicts, built, self.family, directory=directory, world=self.world)
            start.gate_trainable(self.verdicts, built, self.family, self.plan)
            self.verdicts.settle()
            self._before = fingerprint.take(built.model)

    def before_forward(self, model: Any, batch: Batch, *, seed: int) -> None:
        """First steps: the loss with other pixels. Seeded as the forward that follows: dropout is the same in both."""
        if self._open and self._probe is None:
            with self.verdicts.timed():
                torch.manual_seed(seed)
                self._probe = first_step.probe_media(model, self.family, batch, self.world)

    def after_forward(self, model: nn.Module, batch: Batch, numerator: torch.Tensor) -> None:
        """First steps: note what a micro-batch gave."""
        if not self._open:
            return
        self._batches.append((self.family.weight(batch), numerator, self.family.chance_loss(model, batch)))
        if self._probe is not None and self._probe.real is None:
            self._probe = first_step.Probe(self._probe.other, numerator)

    def after_backward(self, model: nn.Module, *, planned: int, lost: int) -> None:
        """First steps: count, loss, pixels, gradient; all of what is wrong is raised at once.

        `planned`: weight of the step by the ledger; `lost`: of it, what samples held that could not be loaded.
        """
        if not self._open:
            return
        with self.verdicts.timed():
            self._steps += 1
            norms = first_step.gradient_norms(model, self.family, self.world)
            if self._steps == 1:
                self._judge_counts(planned, lost)
            # A vision tower has no gradient in a step of nothing but text: wait for one with media.
            waiting = self._probe is None and bool(first_step.dead_groups(norms)) and self._steps < PATIENCE
            if not waiting:
                first_step.gate_conditioning(self.verdicts, self._probe, self.world)
                first_step.gate_gradient(self.verdicts, norms)
                self._open = False
            self._batches.clear()
            self.verdicts.settle()

    def _judge_counts(self, planned: int, lost: int) -> None:
        counted, numerator, guessed = self.world.sum(
            [
                float(sum(weight for weight, _, _ in self._batches)) / self.world.cp,
                float(sum(float(value) for _, value, _ in self._batches)),
                sum(guess for _, _, guess in self._batches) / self.world.cp,
            ]
        )
        first_step.gate_supervised(self.verdicts, counted=round(counted), planned=planned, lost=lost)
        per_unit = max(counted, 1.0)
        first_step.gate_first_loss(
            self.verdicts, loss=numerator / per_unit, chance=guessed / per_unit, broken=self.family.BROKEN
        )

    def check_end(
        self, model: nn.Module, *, skipped: Sequence[int], rolled_back: Sequence[tuple[int, int]] = ()
    ) -> None:
        """After the last step: what is frozen is the base, bit by bit, and everything that is trained has moved."""
        with self.verdicts.timed():
            changed = self._before.changed(fingerprint.take(model), self.world)
            groups = first_step.group_of(model, self.family)
            trained = {name for name, value in _plain(model) if value.requires_grad}
            self._judge_frozen(sorted(changed - trained), num_frozen=len(groups) - len(trained))
            self._judge_moved(trained, changed, groups)
            back: list[JsonValue] = [{"step": step, "to": to} for step, to in rolled_back]
            self.verdicts.add("finite-steps", skipped=len(skipped), steps=list(skipped[:20]), rolled_back=back)
            self.verdicts.log.status("gates", seconds=round(self.verdicts.seconds, 4))
            self.verdicts.settle()

    def _judge_frozen(self, changed: list[str], *, num_frozen: int) -> None:
        problems = [f"{listed(changed)}: frozen, and changed since the base was loaded; want the same bits"]
        self.verdicts.add("frozen", problems if changed else (), tensors=num_frozen, changed=len(changed))

    def _judge_moved(self, trained: set[str], changed: set[str], groups: dict[str, str]) -> None:
        moved = {groups[name] for name in trained & changed}
        still = sorted({groups[name] for name in trained} - moved)
        problems = [
            f"{listed(still)}: trained, and the same bits as before the first step; want every part to move. "
            "Fix: raise train.optm_lr, or set train.param_dtype to float32: small changes are lost in rounding"
        ]
        # A tower that never saw a medium has no reason to move.
        failed = bool(still) and (self._probe is not None or not moved)
        self.verdicts.add("moved", problems if failed else (), groups=len(moved | set(still)), still=len(still))


def _plain(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters by the names they have in the base."""
    for name, value in model.named_parameters():
        yield clean_name(name), value
