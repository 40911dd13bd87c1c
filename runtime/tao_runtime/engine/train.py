"""Training: executes a plan that passed preflight, step by step, and nothing else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule

from tao_runtime.data.snapshot import network_folder
from tao_runtime.engine.build import Built, build_sharded
from tao_runtime.engine.checkpoint import load_commit, train_state
from tao_runtime.engine.dist import World, device_name, make_mesh, seed_device
from tao_runtime.engine.ema import PowerEma
from tao_runtime.engine.export.run import export
from tao_runtime.engine.export.write import Origin
from tao_runtime.engine.families import wet_family
from tao_runtime.engine.garbage import Garbage
from tao_runtime.engine.gates import Gates
from tao_runtime.engine.guard import StepGuard, Streak
from tao_runtime.engine.inputs import BadSampleBudget, MicroBatch, collated, placed
from tao_runtime.engine.loggers import make_loggers
from tao_runtime.engine.meter import Meter
from tao_runtime.engine.optimizer import make_optimizer
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.resume import check_unchanged, find_start
from tao_runtime.engine.run_dir import RunLog, RunRecord, now
from tao_runtime.engine.saving import Saver
from tao_runtime.engine.source import BadSample, Request, Source
from tao_runtime.engine.stop import StopRequest
from tao_runtime.engine.validate import batches_of, validate
from tao_runtime.engine.watchdog import Watchdog
from tao_runtime.errors import RunError, StoppedError
from tao_runtime.plan.batches import Indices, StepBatch, StepBatches
from tao_runtime.plan.devices import peak_flops
from tao_runtime.plan.model import TrainPlan
from tao_runtime.plan.schedule import lr_factor


class Trainer:
    """One run of one plan on this process."""

    def __init__(self, plan: TrainPlan, run_dir: Path, world: World, *, stop: StopRequest, watchdog: Watchdog) -> None:
        self.stop = stop
        self.watchdog = watchdog
        self.plan = plan
        self.run_dir = run_dir
        self.world = world = replace(world, cp=plan.mesh.cp)
        self.log = RunLog(run_dir, is_main=world.is_main)
        self.family = wet_family(plan.family)
        self.gates = Gates(self.log, world, self.family, plan)
        self.directory = network_folder(Path(plan.model.path))
        self.budget = BadSampleBudget(plan.data.bad_sample_budget, tell=self._name_bad)
        # A backward pass is two forward ones, one of them for the gradients of weights, which adapters hardly have.
        self.passes = 3 if plan.model.lora is None else 2
        self.started_at, self._clock = now(), time.monotonic()

    def run(self) -> RunRecord:
        """Train, validate, save, export; returns what run.json says. Every rank calls this."""
        plan, total = self.plan, self.plan.steps.total
        assert total, "the plan passed preflight"
        torch.use_deterministic_algorithms(plan.precision.deterministic)
        self.train_data = self._open("train")
        self.val_data = self._open("val")
        assert self.train_data is not None
        self.steps = StepBatches(plan, self.train_data.ledger.length)
        self.built = self._build()
        self.model: Any = self.built.model
        self.optimizer = make_optimizer(self.model, self.family, plan.optimizer)
        self.guard = StepGuard(self.optimizer, self.log, plan.bad_steps)
        self.ema = PowerEma(self.model, rate=plan.ema.rate, iteration_shift=plan.ema.shift) if plan.ema else None
        self.garbage = Garbage()
        start = self._start()
        loggers = make_loggers(plan.logging, self.run_dir) if self.world.is_main else []
        with StepProgress("train", total, done=start, enabled=self._on_console) as self.progress:
            self.saver = Saver(plan, self.run_dir, self.world, log=self.log, say=self.progress.say)
            peak = peak_flops(device_name(self.world.device), plan.precision.compute)
            self.meter = Meter(self.log, loggers, self.world, self.progress, peak_flops=peak)
            try:
                self._loop(start, total)
            except BaseException:
                self.saver.checkpoints.wait(timeout_s=60)  # a save under way still counts
                raise
            finally:
                self.garbage.close()
        for logger in loggers:
            logger.close()
        return self._finish(start, total)

    @property
    def _on_console(self) -> bool:
        return self.world.is_main and "console" in self.plan.logging.loggers

    def _open(self, label: str) -> Source | None:
        if label == "val" and (self.plan.data.val is None or not self.plan.validation.enabled):
            return None
        source = self.family.open_source(self.plan, self.run_dir, label, self.world)
        self.watchdog.observe(lambda: (source.cache.hits, source.cache.misses))
        return source

    def _build(self) -> Built:
        plan = self.plan
        meshes = make_mesh(plan.mesh, self.world.device)
        with self.gates.building():
            built = build_sharded(self.family, self.directory, plan=plan, meshes=meshes)
        self.gates.check_start(built, self.directory)
        return built

    def _start(self) -> int:
        """Resume or start; returns the step to begin with. The log says which it was."""
        check_unchanged(self.plan)
        begin = find_start(self.run_dir, self.plan, hashes=False)  # the launcher has read every byte
        for kind, text in begin.remarks():
            self.log.status("warning", rule=f"run/{kind}", text=text)
            if self.world.is_main:
                print(f"warning[run/{kind}] {text}", file=sys.stderr, flush=True)
        if begin.commit is not None:
            load_commit(begin.commit, self.optimizer, self.ema)
        self.log.status("start", how=begin.how, step=begin.step, source=str(begin.commit or self.directory))
        return begin.step

    def _name_bad(self, sample: BadSample) -> None:
        """Name a sample that could not be loaded, from whichever rank saw it."""
        log = RunLog(self.run_dir, is_main=True)
        log.status("bad-sample", record=sample.record, reason=sample.reason, rank=self.world.rank)

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """Time what runs inside, and tell the watchdog."""
        self.watchdog.mark(name)
        with self.meter.time(name):
            yield

    def _loop(self, start: int, total: int) -> None:
        assert self.train_data is not None
        batches = self._batches(self.train_data, start, total)
        self._stop_if_asked(start, total)
        # All steps are done: an earlier launch was stopped in its last validation, or while it exported.
        if self.val_data is not None and (start == total or (start == 0 and self.plan.validation.before_train)):
            self._validate(start)
        for step in range(start, total):
            self._step(step, batches)
            done = step + 1
            self.watchdog.step = done
            if self.guard.streak is not None:
                self._end_streak(self.guard.streak, done)
            if self._due(self.plan.validation.every_steps, done, total) and self.val_data is not None:
                self._validate(done)
            if self.plan.checkpoint.enabled and self._due(self.plan.checkpoint.every_steps, done, total):
                with self._phase("checkpoint"):
                    self.saver.save(train_state(self.optimizer, self.ema), done, self.meter.latest)
            self.saver.tell()
            self._stop_if_asked(done, total)
        self.stop.settle()
        self.guard.settle()
        if self.guard.streak is not None:
            raise RunError(f"{self.guard.streak.sentence()}, and these were the last of the run")

    def _stop_if_asked(self, done: int, total: int) -> None:
        """Save, say so, and raise, if the run was asked to stop and steps are left. Collective."""
        if done >= total or not self.stop.agreed():
            return
        self.stop.settle()
        kept = "checkpoints are off: nothing is saved" if done else "nothing was trained yet"
        if self.plan.checkpoint.enabled and done:
            with self._phase("checkpoint"):
                self.saver.save_now(train_state(self.optimizer, self.ema), done, self.meter.latest)
            kept = f"step {done} is committed"
        self.log.status("stopped", step=done, signal=self.stop.signal or "on another rank")
        raise StoppedError(f"stopped on request after step {done} of {self.plan.steps.total}; {kept}")

    def _end_streak(self, streak: Streak, done: int) -> None:
        """Too many bad steps in a row: end the run, or go on with the next data from the weights of the last commit.

        Raises:
            RunError: the plan says stop, there is nothing to roll back to, or it did not help before.
        """
        plan = self.plan.bad_steps
        back = self.saver.newest() if plan.then == "rollback" else None
        advice = (
            "None of these steps changed a weight, and what is committed is kept. "
            "Fix: lower train.optm_lr, or look at the records of these steps"
        )
        if back is None or len(self.saver.rollbacks) >= plan.max_rollbacks:
            tried = f" It was rolled back {len(self.saver.rollbacks)} times." if self.saver.rollbacks else ""
            raise RunError(f"{streak.sentence()}.{tried} {advice}")
        with self._phase("checkpoint"):
            load_commit(back, self.optimizer, self.ema)
        lost = self.saver.rolled_back(back, done)
        self.guard.forget()
        self.progress.say(f"{streak.sentence()}: weights of {back.name} again; what {lost} steps learned is dropped")

    @staticmethod
    def _due(every: int | None, done: int, total: int) -> bool:
        return done == total or (every is not None and done % every == 0)

    def _batches(self, source: Source, start: int, total: int) -> Iterator[MicroBatch]:
        def requests() -> Iterator[Request]:
            for step in range(start, total):
                for micro in self._parts(self.steps.step(step), source):
                    yield Request(step, micro.tolist())

        batches = collated(source, requests(), budget=self.budget, loading=self.plan.data.loading)
        return placed(batches, self.world.device)

    def _parts(self, batch: StepBatch, source: Source) -> list[Indices]:
        """This rank's micro-batches of a step, balanced by tokens."""
        cut = self.plan.batch
        return batch.micro_batches(
            source.ledger.length,
            rank=self.world.data_rank,
            data_parallel=self.world.data_size,
            micro=cut.micro,
            micro_tokens=cut.micro_tokens,
        )

    def _step(self, step: int, batches: Iterator[MicroBatch]) -> None:
        """One optimizer step: the summed loss of all its samples over all that they weigh."""
        plan, source = self.plan, self.train_data
        assert source is not None
        records = self.steps.step(step)
        planned = int(source.ledger.weight[records.records].sum())
        parts = self._parts(records, source)
        self.optimizer.set_lr(lr_factor(plan.schedule, step))
        if not self.model.training:  # a walk over all modules
            self.model.train()
        numerators, lost = [], 0
        for number, part in enumerate(parts):
            with self._phase("data"):
                micro = next(batches)
            lost += micro.lost
            seed = self._noise_seed(step, part)
            if isinstance(self.model, FSDPModule):
                # Cut over shards after each micro-batch, or every rank would hold all gradients; summed over replicas
                # after the last one.
                self.model.set_requires_all_reduce(number == len(parts) - 1)
            numerators.append(self._micro_step(micro, planned, seed))
        weight = self._weight(planned, lost)
        self.gates.after_backward(self.model, planned=planned, lost=planned - weight)
        with self._phase("optimizer"):
            self.optimizer.take_gradients()
            if weight != planned:  # the gradient was divided by what the plan counted
                self.optimizer.scale_gradients(planned / max(weight, 1))
            if plan.optimizer.force_finite:
                self.meter.add_zeroed(self.optimizer.zero_non_finite())
            norm = self.optimizer.clip(plan.optimizer.grad_clip)
            self.guard.step(norm)
            self.optimizer.zero_grad()
            if self.ema is not None:
                self.ema.update(step)
        for numerator in numerators:
            self.meter.add_loss(self.guard.cleaned(numerator))
        self.meter.add_step(
            weight=self.guard.cleaned(norm.new_full((), float(weight))),  # where the flag is: no transfer
            tokens=int(source.ledger.length[records.records].sum()),
            flops=self.passes * float(source.ledger.flops[records.records].sum()),
            norm=self.guard.cleaned(norm),
        )
        done = step + 1
        self.guard.note(done, norm)
        self.progress.advance()
        if done % plan.logging.every_steps == 0 or done == plan.steps.total:
            self.meter.report(done, lr=self.optimizer.lr, epoch=records.epoch, cache=source.cache)
            self.garbage.collect()

    def _micro_step(self, micro: MicroBatch, weight: int, seed: int) -> torch.Tensor:
        """Forward and backward of a micro-batch; returns its summed loss, detached, on its device."""
        batch = micro.batch
        self.gates.before_forward(self.model, batch, seed=seed)
        seed_device(seed, self.world.device)
        with self._phase("forward"):
            numerator = self.model.training_loss(batch)
        # FSDP averages over ranks; the weight is that of all ranks, so the factor makes the average a sum.
        with self._phase("backward"):
            (numerator * (self.world.size / max(weight, 1))).backward()
        self.meter.add_processed(self.family.num_tokens(batch) / self.world.cp)
        self.gates.after_forward(self.model, batch, numerator.detach())
        return numerator.detach()

    def _weight(self, planned: int, lost: int) -> int:
        """Return what the loss of a step is divided by: what the plan counted, less samples that could not be loaded.

        Where none may be bad, the first one ends the run, and no rank needs to ask the others.
        """
        if self.plan.data.bad_sample_budget == 0:
            return planned - lost
        [everywhere] = self.world.sum([float(lost) / self.world.cp])
        return planned - round(everywhere)

    def _noise_seed(self, step: int, records: np.ndarray) -> int:
        """Seed of dropout: from (seed, step, first sample), so that resuming draws what an unbroken run draws."""
        first = int(records[0]) if len(records) else -1
        part = self.world.rank % self.world.cp  # of a sequence: other tokens, other draws
        return int(np.random.SeedSequence([self.plan.seed, step, first + 1, part]).generate_state(1)[0])

    def _validate(self, done: int) -> None:
        """Measure the validation loss; given up if the run is asked to stop, which the caller's next question tells."""
        assert self.val_data is not None
        with self._phase("validate"):
            source = self.val_data
            batches = batches_of(source, self.plan.validation, self.world, self.budget)
            weight = int(source.ledger.weight.sum())
            with self._averaged():
                loss = validate(self.model, batches, weight=weight, world=self.world, stop=self.stop)
        if loss is not None:
            self.meter.report_validation(done, loss)

    def _averaged(self) -> AbstractContextManager[None]:
        """The averaged weights in place of the live ones, where the plan keeps them."""
        return nullcontext() if self.ema is None else self.ema.applied()

    def _export(self, total: int) -> dict[str, str]:
        try:
            with self._averaged():
                origin = Origin(self.plan, self.family, total, weights="live" if self.ema is None else "ema")
                return export(
                    self.built,
                    origin,
                    self.run_dir,
                    world=self.world,
                    stop=self.stop,
                    verdicts=self.gates.verdicts,
                )
        except StoppedError:
            self.log.status("stopped", step=total, signal=self.stop.signal or "on another rank")
            raise

    def _finish(self, start: int, total: int) -> RunRecord:
        plan, outputs = self.plan, {}
        if plan.checkpoint.enabled and start < total:
            with self._phase("checkpoint"):
                self.saver.wait_for(total)
        if (newest := self.saver.newest()) is not None:
            outputs["checkpoint"] = str(newest.relative_to(self.run_dir))
        self.watchdog.mark("export")
        self.gates.check_end(self.model, skipped=self.guard.skipped, rolled_back=self.saver.rollbacks)
        if plan.checkpoint.export_safetensors:
            outputs.update(self._export(total))
        [bad] = self.world.sum([float(len(self.budget.seen)) / self.world.cp])
        if bad > plan.data.bad_sample_budget:
            raise RunError(f"{int(bad)} bad samples over all ranks; the budget is {plan.data.bad_sample_budget}")
        assert self.train_data is not None
        record = RunRecord(
            action=plan.action,
            family=plan.family,
            spec_sha256=plan.spec_sha256,
            started_at=self.started_at,
            finished_at=now(),
            seconds=round(time.monotonic() - self._clock, 2),
            steps=total,
            records=len(self.train_data.ledger),
            resumed_from=start or None,
            bad_samples=int(bad),
            gates=tuple(self.log.gates),
            metrics=self.meter.latest,
            outputs=outputs,
            parents={"annotation": plan.data.train.sha256 or "", "model": plan.model.path},
        )
        self.log.status("complete", steps=total)
        self.log.complete(record)
        return record
