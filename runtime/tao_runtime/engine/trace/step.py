"""One training step of a plan on tensors without numbers: what of it is alive, and the most at any time.

Rank 0 of a world that is not there runs what every rank runs: the network as the engine builds it, cut, wrapped and
trained, on a micro-batch as large as the plan's largest. No weights, no data, no GPU; attention as a CPU runs it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import init_empty_weights
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from tao_runtime.data.facts import Facts
from tao_runtime.engine import adapter
from tao_runtime.engine.build import DTYPES, cast_parameters, choose_trainable, select, shard, wrap_blocks
from tao_runtime.engine.dist import Meshes, make_mesh
from tao_runtime.engine.ema import PowerEma
from tao_runtime.engine.families import WetFamily, wet_family
from tao_runtime.engine.optimizer import make_optimizer
from tao_runtime.engine.trace.storages import StorageTracker
from tao_runtime.engine.trace.weightless import Weightless
from tao_runtime.errors import RunError
from tao_runtime.plan.model import TrainPlan


@dataclass(frozen=True, slots=True)
class Traced:
    """Bytes of one rank."""

    resident: int  # weights, moments and averages
    peak: int  # with all that comes and goes
    seconds: float  # that the trace took


def trace_step(plan: TrainPlan, facts: Facts, config: Mapping[str, object], *, limit_s: float) -> Traced:
    """Return what a step of a plan holds. `config`: of the network.

    Raises:
        RunError: it took longer than the limit, the mesh does not fit the number of processes, or torch cannot run it.
    """
    mesh = plan.mesh
    if not mesh.dp_replicate or not mesh.dp_shard or mesh.dp_replicate * mesh.dp_shard * mesh.cp != mesh.world:
        raise RunError(f"replicas x shards x context are not {mesh.world} processes: nothing to trace")
    started, family = time.monotonic(), wet_family(plan.family)

    def tick() -> None:
        if time.monotonic() - started > limit_s:
            raise RunError(f"the trace took more than {limit_s:g} s; give it more with --trace-limit")

    with _one_of_many(plan.mesh.world), _told(), tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(dict(config)))
        meshes = make_mesh(plan.mesh, torch.device("cpu"))
        batch = family.rehearse(plan, facts)
        model = _built(family, Path(folder), plan, meshes)
        with Weightless() as mode:
            _fill(model)
            shard(model, family, plan.precision, meshes.weights)
            return _run(family, model, plan, mode.lightened(batch), tick, started)


def _run(
    family: WetFamily, model: nn.Module, plan: TrainPlan, batch: Any, tick: Callable[[], None], started: float
) -> Traced:
    # Lists and loops ask step counts for their numbers, and there are none; fused kernels do not, and their moments are
    # as large.
    optimizer = make_optimizer(model, family, plan.optimizer.model_copy(update={"implementation": "fused"}))
    ema = PowerEma(model, rate=plan.ema.rate) if plan.ema else None
    trained: Any = model
    with StorageTracker(tick) as tracker:
        tracker.watch([list(model.parameters()), list(model.buffers())])
        tracker.watch([list(state.values()) for state in optimizer.inner.state.values()])
        tracker.watch(list(ema.state_dict().values()) if ema else [])
        resident = tracker.current
        tracker.watch(batch)
        for _ in range(1 if plan.batch.accumulation == 1 else 2):
            trained.training_loss(batch).backward()
        optimizer.take_gradients()
        optimizer.step()
        if plan.optimizer.implementation == "foreach":  # holds one list of the size of a moment while it steps
            copies = [torch.empty_like(shard) for shard in optimizer.shards.values()]
            del copies
        optimizer.zero_grad()
        return Traced(resident, tracker.peak, time.monotonic() - started)


def _built(family: WetFamily, folder: Path, plan: TrainPlan, meshes: Meshes) -> nn.Module:
    """Return the network on meta as `build_sharded` makes it, before it is cut."""
    with init_empty_weights(include_buffers=False):
        model = family.build(folder, packed=True)
    cast_parameters(model, DTYPES[plan.precision.master])
    if plan.model.lora is not None:
        adapter.inject(model, plan.model.lora)
    choose_trainable(model, plan.model)
    select(model, family, plan.optimizer.keys_to_select)
    if meshes.sequence is not None:
        try:
            family.share_sequence(model, meshes.sequence)
        except ValueError as error:
            raise RunError(f"{error}: nothing to trace") from error
    wrap_blocks(model, family, plan)
    return model.train()


def _fill(model: nn.Module) -> None:
    """Give every parameter of meta a tensor without numbers on the CPU; tied ones stay one."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is None:
                continue
            if id(value) not in made:
                empty = torch.empty(value.shape, dtype=value.dtype)
                made[id(value)] = nn.Parameter(empty, requires_grad=value.requires_grad)
            module._parameters[name] = made[id(value)]


@contextmanager
def _one_of_many(world: int) -> Iterator[None]:
    """Be rank 0 of a world whose other ranks answer nothing."""
    if dist.is_initialized():
        raise RunError("a trace needs a process of its own: this one is part of a run")
    dist.init_process_group("fake", rank=0, world_size=world, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _told() -> Iterator[None]:
    """Say in one sentence what torch, or a network, refuses to do without numbers."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:  # every refusal of torch is one of them
        said = str(error).strip().partition("\n")[0] or "nothing more is said"
        raise RunError(f"the step cannot be traced: {type(error).__name__}: {said}") from error
