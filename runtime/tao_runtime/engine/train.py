"""Training: executes a plan that passed preflight, step by step, and nothing else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tao_runtime import __version__
from tao_runtime.data.snapshot import probe_model
from tao_runtime.engine.build import Built, build_sharded
from tao_runtime.engine.checkpoint import Checkpointer, load_commit
from tao_runtime.engine.commits import Commit
from tao_runtime.engine.dist import World, make_mesh
from tao_runtime.engine.export import export
from tao_runtime.engine.families import Batch, wet_family
from tao_runtime.engine.finite import StepGuard
from tao_runtime.engine.gates import Gates
from tao_runtime.engine.inputs import BadSampleBudget, collated, open_source, place, sample_rules
from tao_runtime.engine.loggers import make_loggers
from tao_runtime.engine.meter import Meter
from tao_runtime.engine.optimizer import clip_gradients, make_optimizer, restore_settings, set_lr, settings_of
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.resume import check_unchanged, find_start
from tao_runtime.engine.run_dir import RunLog, RunRecord, now
from tao_runtime.engine.samples import BadSample, SampleSource
from tao_runtime.engine.stop import StopRequest
from tao_runtime.engine.validate import validate
from tao_runtime.engine.watchdog import Watchdog
from tao_runtime.errors import RunError, StoppedError
from tao_runtime.plan.batches import Indices, StepBatch, step_batch
from tao_runtime.plan.identity import identity_parts, resume_identity
from tao_runtime.plan.model import TrainPlan
from tao_runtime.plan.schedule import lr_factor
from tao_runtime.spec.base import ModelRef


class Trainer:
    """One run of one plan on this process."""

    def __init__(self, plan: TrainPlan, run_dir: Path, world: World, *, stop: StopRequest, watchdog: Watchdog) -> None:
        self.stop = stop
        self.watchdog = watchdog
        self.plan = plan
        self.run_dir = run_dir
        self.world = world
        self.log = RunLog(run_dir, is_main=world.is_main)
        self.family = wet_family(plan.family)
        self.gates = Gates(self.log, world, self.family, plan.model)
        self.directory = Path(plan.model.path)
        self.snapshot = probe_model(ModelRef("model", plan.model.path, "model.path"))
        self.budget = BadSampleBudget(plan.data.bad_sample_budget, tell=self._name_bad)
        self.started_at, self._clock = now(), time.monotonic()

    def run(self) -> RunRecord:
        """Train, validate, save, export; returns what run.json says. Every rank calls this."""
        plan, total = self.plan, self.plan.steps.total
        assert total, "the plan passed preflight"
        torch.use_deterministic_algorithms(plan.precision.deterministic)
        self.train_data = self._open("train", plan.data.cache_bytes)
        self.val_data = self._open("val", plan.data.cache_bytes if plan.validation.cache else 0)
        self.built = self._build()
        self.model: Any = self.built.model
        self.optimizer = make_optimizer(self.model, self.family, plan.optimizer)
        self.guard = StepGuard(self.optimizer, self.log)
        self.checkpoints = Checkpointer(
            self.run_dir / "checkpoints", plan.checkpoint, self.world, launch_id=self.world.agreed_id()
        )
        start = self._start()
        loggers = make_loggers(plan.logging, self.run_dir) if self.world.is_main else []
        with StepProgress("train", total, done=start, enabled=self._on_console) as self.progress:
            self.meter = Meter(self.log, loggers, self.world, self.progress)
            try:
                self._loop(start, total)
            except BaseException:
                self.checkpoints.wait(timeout_s=60)  # a save under way still counts
                raise
        for logger in loggers:
            logger.close()
        return self._finish(start, total)

    @property
    def _on_console(self) -> bool:
        return self.world.is_main and "console" in self.plan.logging.loggers

    def _open(self, label: str, cache_bytes: int) -> SampleSource | None:
        dataset = self.plan.data.train if label == "train" else self.plan.data.val
        if dataset is None or (label == "val" and not self.plan.validation.enabled):
            return None
        rules = sample_rules(self.plan, self.snapshot.geometry, response_mode=dataset.response_mode)
        tokenizer = self.directory / "tokenizer.json"
        source = open_source(self.run_dir, label, rules, tokenizer=tokenizer, cache_bytes=cache_bytes)
        self.watchdog.observe(lambda: (source.cache.hits, source.cache.misses))
        return source

    def _build(self) -> Built:
        plan = self.plan
        mesh = make_mesh(plan.mesh, self.world.device)
        with self.gates.building():
            built = build_sharded(
                self.family, self.directory, plan=plan.model, precision=plan.precision, mesh=mesh, seed=plan.seed
            )
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
            settings = settings_of(self.optimizer)
            load_commit(begin.commit, self.model, self.optimizer, say=lambda text: None)
            restore_settings(self.optimizer, settings)
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
        if start == 0 and self.plan.validation.before_train:
            self._validate(0)
        for step in range(start, total):
            self._step(step, batches)
            done = step + 1
            self.watchdog.step = done
            if self._due(self.plan.validation.every_steps, done, total) and self.val_data is not None:
                self._validate(done)
            if self.plan.checkpoint.enabled and self._due(self.plan.checkpoint.every_steps, done, total):
                self._save(done)
            self._tell_saves()
            if self.stop.agreed() and done < total:
                self._end_early(done)
        self.stop.settle()
        self.guard.settle()

    def _end_early(self, done: int) -> None:
        """Save, say so, and raise: the run was asked to stop."""
        self.stop.settle()
        if self.plan.checkpoint.enabled:
            self.checkpoints.wait()
            if self.checkpoints.last_step != done:
                self._save(done)
            self._wait_for_saves(done)
        kept = f"step {done} is committed" if self.plan.checkpoint.enabled else "checkpoints are off: nothing is saved"
        self.log.status("stopped", step=done, signal=self.stop.signal or "on another rank")
        raise StoppedError(f"stopped on request after step {done} of {self.plan.steps.total}; {kept}")

    @staticmethod
    def _due(every: int | None, done: int, total: int) -> bool:
        return done == total or (every is not None and done % every == 0)

    def _batches(self, source: SampleSource, start: int, total: int) -> Iterator[Batch]:
        plan = self.plan

        def positions() -> Iterator[list[int]]:
            for step in range(start, total):
                batch = step_batch(plan, len(source.ledger), step)
                for micro in self._parts(batch, source):
                    yield micro.tolist()

        return collated(
            self.family,
            source,
            positions(),
            budget=self.budget,
            num_threads=plan.data.num_workers,
            prefetch=plan.data.prefetch_factor,
        )

    def _parts(self, batch: StepBatch, source: SampleSource) -> list[Indices]:
        """This rank's micro-batches of a step, balanced by tokens."""
        world, micro = self.world, self.plan.batch.micro
        return batch.micro_batches(source.ledger.length, rank=world.rank, data_parallel=world.size, micro=micro)

    def _step(self, step: int, batches: Iterator[Batch]) -> None:
        """One optimizer step: the summed loss of all its samples over all their supervised tokens."""
        plan, source = self.plan, self.train_data
        assert source is not None
        records = step_batch(plan, len(source.ledger), step)
        weight = int(source.ledger.weight[records.records].sum())
        parts = self._parts(records, source)
        set_lr(self.optimizer, lr_factor(plan.schedule, step))
        self.model.train()
        numerators: list[torch.Tensor] = []
        for number, part in enumerate(parts):
            with self._phase("data"):
                batch = place(next(batches), self.world.device)
            seed = self._noise_seed(step, part)
            self.gates.before_forward(self.model, batch, seed=seed)
            torch.manual_seed(seed)
            self.model.set_requires_gradient_sync(number == len(parts) - 1)
            with self._phase("forward"):
                numerator = self.model.training_loss(batch)
            # FSDP averages over ranks; the weight is that of all ranks, so the factor makes the average a sum.
            with self._phase("backward"):
                (numerator * (self.world.size / max(weight, 1))).backward()
            numerators.append(numerator.detach())
            self.gates.after_forward(batch, numerator.detach())
        self.gates.after_backward(self.model, source.ledger, records.records, self.budget.seen)
        with self._phase("optimizer"):
            norm = clip_gradients(self.model, plan.optimizer.grad_clip)
            self.guard.step(norm)
            self.optimizer.zero_grad()
        for numerator in numerators:
            self.meter.add_loss(self.guard.cleaned(numerator))
        tokens = int(source.ledger.length[records.records].sum())
        self.meter.add_step(weight=weight, tokens=tokens, norm=self.guard.cleaned(norm))
        done = step + 1
        self.guard.note(done, norm)
        self.progress.advance()
        if done % plan.logging.every_steps == 0 or done == plan.steps.total:
            self.meter.report(done, lr=self.optimizer.param_groups[0]["lr"], epoch=records.epoch, cache=source.cache)

    def _noise_seed(self, step: int, records: np.ndarray) -> int:
        """Seed of dropout: from (seed, step, first sample), so that resuming draws what an unbroken run draws."""
        first = int(records[0]) if len(records) else -1
        return int(np.random.SeedSequence([self.plan.seed, step, first + 1]).generate_state(1)[0])

    def _validate(self, done: int) -> None:
        assert self.val_data is not None
        with self._phase("validate"):
            loss = validate(
                self.model, self.family, self.val_data, plan=self.plan.validation, world=self.world, budget=self.budget
            )
        self.meter.report_validation(done, loss)

    def _save(self, done: int) -> None:
        commit = Commit(
            step=done,
            world_size=self.world.size,
            identity=resume_identity(self.plan),
            parts=identity_parts(self.plan),
            version=__version__,
            spec_sha256=self.plan.spec_sha256,
            metrics=self.meter.latest,
            files={},
        )
        with self._phase("checkpoint"):
            self.checkpoints.save(self.model, self.optimizer, commit)

    def _tell_saves(self) -> None:
        """Log the saves that ended. A failed one is said aloud, and training goes on: the next one tries again."""
        for saved in self.checkpoints.ended():
            seconds, mode = round(saved.waited_s, 3), self.plan.checkpoint.mode
            if saved.error is None:
                self.log.status("checkpoint", step=saved.step, seconds=seconds, mode=mode)
                continue
            self.log.status("checkpoint-failed", step=saved.step, seconds=seconds, mode=mode, reason=saved.error)
            if self.world.is_main:
                self.progress.say(f"step {saved.step} could not be saved ({saved.error}); older commits are kept")

    def _wait_for_saves(self, step: int) -> None:
        """Wait for the last save; raises if its commit is not there."""
        with self._phase("checkpoint"):
            self.checkpoints.wait()
        self._tell_saves()
        if self.checkpoints.last_step != step:
            kept = self.checkpoints.last_step
            raise RunError(
                f"step {step} could not be saved: the reasons are in status.jsonl. The newest commit of this launch is "
                f"{'none' if kept is None else f'step {kept}'}. Fix: free disk space, and run the same command again"
            )

    def _finish(self, start: int, total: int) -> RunRecord:
        plan, outputs = self.plan, {}
        if plan.checkpoint.enabled and start < total:
            self._wait_for_saves(total)
        if self.checkpoints.last_step is not None:
            outputs["checkpoint"] = f"checkpoints/iter_{self.checkpoints.last_step:09d}"
        self.watchdog.mark("export")
        self.gates.check_end(self.model, skipped=self.guard.skipped)
        if plan.checkpoint.export_safetensors:
            outputs.update(export(self.built, plan, self.run_dir, world=self.world))
        [bad] = self.world.sum([float(len(self.budget.seen))])
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
