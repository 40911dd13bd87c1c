"""Saving and loading sharded state through torch DCP under the commit protocol of `engine/commits.py`."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.checkpoint import FileSystemReader, load, save  # type: ignore[attr-defined]
from torch.distributed.checkpoint.api import CheckpointException

from tao_runtime.engine.commits import SAVING, Commit, commit_name, hash_files, prune, seal
from tao_runtime.engine.dist import World
from tao_runtime.engine.ema import PowerEma
from tao_runtime.engine.optimizer import ShardOptimizer
from tao_runtime.errors import RunError
from tao_runtime.plan.model import CheckpointPlan

State = dict[str, dict[str, torch.Tensor]]  # part -> name -> tensor
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of a save."""

    step: int
    waited_s: float  # training had to wait this long
    error: str | None = None  # the disk refused something; what was committed before is as it was


class SaveFailedError(Exception):
    """A save failed for a reason outside this program; known to every rank."""


class Checkpointer:
    """Saves commits of one run. At most one save is under way; a failed one is told, and the next one tries again."""

    def __init__(self, root: Path, plan: CheckpointPlan, world: World, *, launch_id: str) -> None:
        self.root = root
        self.plan = plan
        self.world = world
        self.launch_id = launch_id
        self.last_step: int | None = None  # the newest commit of this launch
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._ended: list[Saved] = []
        # Its own group: an asynchronous save must not interleave its collectives with training's.
        self._group = dist.new_group(backend="gloo")
        if world.is_main:
            root.mkdir(parents=True, exist_ok=True)
        world.barrier()

    def save(self, state: State, commit: Commit) -> None:
        """Save and commit, or start to. What became of it is told by `ended`."""
        start = time.monotonic()
        self.wait()
        if self.plan.mode == "sync":
            self._write(state, commit, start=start, stall=None)
            return
        # Copied before training goes on: it changes the tensors in place.
        state = _snapshot(state)
        stall = time.monotonic() - start
        # A daemon: a process whose peer died must be able to end.
        self._thread = threading.Thread(target=self._guard, args=(state, commit, start, stall), daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for the save under way, if there is one; raises a fault of the program, not one of the disk."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def ended(self) -> list[Saved]:
        """Return the saves that ended since the last call; costs nothing, waits for nothing."""
        ended, self._ended = self._ended, []
        return ended

    def _guard(self, state: State, commit: Commit, start: float, stall: float) -> None:
        try:
            self._write(state, commit, start=start, stall=stall)
        except BaseException as error:  # noqa: BLE001 - a thread's error is raised by wait()
            self._error = error

    def _write(self, state: State, commit: Commit, *, start: float, stall: float | None) -> None:
        temporary = self.root / f"{SAVING}{commit_name(commit.step)}-{self.launch_id}"
        failure = None
        try:
            self._write_and_seal(state, temporary, commit)
            self.last_step = commit.step
            self._together(lambda: prune(self.root, self.plan.max_keep) if self.world.is_main else None)
        except SaveFailedError as error:
            failure = str(error)
            if self.world.is_main:
                shutil.rmtree(temporary, ignore_errors=True)
        self._ended = [
            *self._ended,
            Saved(commit.step, time.monotonic() - start if stall is None else stall, failure),
        ]

    def _write_and_seal(self, state: State, temporary: Path, commit: Commit) -> None:
        main = self.world.is_main
        self._together(lambda: _write_small_parts(temporary, commit) if main else None)
        for part, values in state.items():
            try:
                # The writer syncs its files before the collective that ends the save.
                save(values, checkpoint_id=temporary / part, process_group=self._group)
            except CheckpointException as error:
                raise self._outside(error) from error
        mine = [f"{part}/{path.name}" for part in state for path in (temporary / part).glob(f"__{self.world.rank}_*")]
        hashes: dict[str, str] = {}
        for found in self._together(lambda: hash_files(temporary, mine)):
            hashes.update(found)
        sealed = commit.model_copy(update={"hashes": hashes})
        self._together(lambda: seal(temporary, self.root / commit_name(commit.step), sealed) if main else None)

    def _together(self, act: Callable[[], T]) -> list[T]:
        """Do something on every rank and return what each got. All ranks go on, or none does."""
        result, error = None, None
        try:
            result = act()
        except OSError as caught:
            error = f"rank {self.world.rank}: {caught}"
        told: list[Any] = [None] * self.world.size
        dist.all_gather_object(told, (result, error), group=self._group)
        errors = [text for _, text in told if text]
        if errors:
            raise SaveFailedError("; ".join(errors))
        return [value for value, _ in told]

    def _outside(self, error: CheckpointException) -> BaseException:
        """Return a failed save for what a disk can cause, and the error itself for what is a fault of the program."""
        failures = {rank: wrapped[0] for rank, wrapped in error.failures.items()}
        # torch's writer turns an OSError of the file under it into a RuntimeError about positions; free space tells.
        if not all(isinstance(failure, OSError | RuntimeError) for failure in failures.values()):
            return error
        free = shutil.disk_usage(self.root).free / (1 << 20)
        reasons = "; ".join(f"rank {rank}: {_reason(failure)}" for rank, failure in failures.items())
        return SaveFailedError(f"{reasons}; {free:.1f} MiB were free on the disk")


def _reason(failure: BaseException) -> str:
    """Return the system's words where they are in the chain of causes."""
    cause: BaseException | None = failure
    while cause is not None:
        if isinstance(cause, OSError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return str(failure).splitlines()[0]


def _write_small_parts(temporary: Path, commit: Commit) -> None:
    """Write what is not a tensor. Schedule and data order follow from the step: they are written to be read."""
    parts = {
        "scheduler/state.json": {"step": commit.step},
        "trainer/state.json": {"step": commit.step, "identity": commit.identity},
        "dataloader/cursor.json": {"next_step": commit.step},
    }
    for name, value in parts.items():
        path = temporary / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            file.write(json.dumps(value))
            file.flush()
            os.fsync(file.fileno())


@torch.no_grad()
def train_state(optimizer: ShardOptimizer, ema: PowerEma | None = None) -> State:
    """Return what a checkpoint holds now: the trainable parameters, their optimizer's state and averages, by name.

    Weights and moments are the tensors themselves, so that loading into them is enough; step counts are a copy.
    """
    weights = {name: value.detach() for name, value in optimizer.parameters.items()}
    averages = {"ema": ema.state_dict()} if ema is not None else {}
    return {"model": weights, "optim": optimizer.state(), **averages}


def _snapshot(state: State) -> State:
    """Copy every tensor into host memory, so that training may go on while the copy is written."""

    def copy(value: torch.Tensor) -> torch.Tensor:
        return value.detach().clone() if value.device.type == "cpu" else value.detach().cpu()

    return {part: {name: copy(value) for name, value in values.items()} for part, values in state.items()}


def load_commit(directory: Path, optimizer: ShardOptimizer, ema: PowerEma | None = None) -> None:
    """Load a commit into what is trained and its optimizer, on any world size; what was saved must be the same tensors.

    Raises:
        RunError: the checkpoint holds other tensors than the run trains.
    """
    state = train_state(optimizer, ema)
    for part, values in state.items():
        saved = set(FileSystemReader(directory / part).read_metadata().state_dict_metadata)
        if saved != set(values):
            lost, strange, both = sorted(set(values) - saved), sorted(saved - set(values)), len(saved & set(values))
            raise RunError(
                f"{directory}: {part} does not fit this run: {both} of {len(values)} tensors match; "
                f"missing {lost[:3]}, unknown {strange[:3]}. Fix: restore the spec that saved it"
            )
        try:
            load(values, checkpoint_id=directory / part)
        except (RuntimeError, ValueError, CheckpointException) as error:
            raise RunError(f"{directory}: {part} does not fit this run: {error}") from error
    optimizer.restore_counts(state["optim"])
