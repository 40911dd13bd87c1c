"""Saving and loading sharded state through torch DCP under the commit protocol of `engine/commits.py`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint import load, save  # type: ignore[attr-defined]
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from tao_runtime.engine.commits import Commit, commit_name, prune, seal
from tao_runtime.engine.dist import World
from tao_runtime.errors import RunError
from tao_runtime.plan.model import CheckpointPlan

State = dict[str, dict[str, Any]]  # part -> name -> tensor or plain value


class Checkpointer:
    """Saves commits of one run. At most one save is under way; a failed one surfaces at the next call."""

    def __init__(self, root: Path, plan: CheckpointPlan, world: World, *, launch_id: str) -> None:
        self.root = root
        self.plan = plan
        self.world = world
        self.launch_id = launch_id
        self.last_step: int | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        # Its own group: an asynchronous save must not interleave its collectives with training's.
        self._group = dist.new_group(backend="gloo")
        if world.is_main:
            root.mkdir(parents=True, exist_ok=True)
        world.barrier()

    def save(self, model: nn.Module, optimizer: torch.optim.Optimizer, commit: Commit) -> float:
        """Save and commit, or start to; returns the seconds that training had to wait."""
        start = time.monotonic()
        self.finish()
        temporary = self.root / f".saving-{commit_name(commit.step)}-{self.launch_id}"
        if self.world.is_main:
            _write_small_parts(temporary, commit)
        self.world.barrier()
        state = _state(model, optimizer)
        if self.plan.mode == "async":
            state = _snapshot(state)
            self._thread = threading.Thread(target=self._guard, args=(state, temporary, commit), name="checkpoint")
            self._thread.start()
        else:
            self._write(state, temporary, commit)
        self.last_step = commit.step
        return time.monotonic() - start

    def finish(self) -> None:
        """Wait for the save under way; raises what it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise RunError(f"saving a checkpoint failed: {error}; the last commit is kept") from error

    def _guard(self, state: State, temporary: Path, commit: Commit) -> None:
        try:
            self._write(state, temporary, commit)
        except BaseException as error:  # noqa: BLE001 - a thread's error is re-raised by finish()
            self._error = error

    def _write(self, state: State, temporary: Path, commit: Commit) -> None:
        for part, values in state.items():
            # The writer syncs its files before the collective that ends the save.
            save(values, checkpoint_id=temporary / part, process_group=self._group)
        dist.barrier(self._group)
        if self.world.is_main:
            seal(temporary, self.root / commit_name(commit.step), commit)
            prune(self.root, self.plan.max_keep)
        dist.barrier(self._group)


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
        path.write_text(json.dumps(value))


def _state(model: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """Return the trainable parameters and the optimizer state, by part."""
    model_state, optimizer_state = get_state_dict(model, optimizer, options=StateDictOptions(ignore_frozen_params=True))
    return {"model": dict(model_state), "optim": dict(optimizer_state)}


def _snapshot(value: Any) -> Any:
    """Copy every tensor, so that training may go on while the copy is written."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _snapshot(item) for key, item in value.items()}
    return [_snapshot(item) for item in value] if isinstance(value, list) else value


def load_commit(
    directory: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, say: Callable[[str], None]
) -> None:
    """Load a commit into a model and its optimizer, on any world size; every trainable tensor must be in it.

    Raises:
        RunError: the checkpoint holds other tensors than the run trains.
    """
    state = _state(model, optimizer)
    for part, values in state.items():
        try:
            load(values, checkpoint_id=directory / part)
        except (RuntimeError, CheckpointException) as error:
            raise RunError(f"{directory}: {part} does not fit this run: {error}") from error
    set_state_dict(
        model,
        optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optim"],
        options=StateDictOptions(ignore_frozen_params=True, strict=False),
    )
    say(f"resumed from {directory.name}")
