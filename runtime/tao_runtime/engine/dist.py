"""Processes and devices: one process model, torchrun's, with one process as its smallest case."""

from __future__ import annotations

import datetime
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from tao_runtime.plan.model import MeshPlan


@dataclass(frozen=True, slots=True)
class World:
    """This process among the others."""

    rank: int
    local_rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup  # gloo, for small CPU messages that must not wait behind the gradients
    cp: int = 1  # ranks that share one micro-batch, each a part of its sequence; they are neighbours

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def data_rank(self) -> int:
        """Which of the groups that load data of their own this rank is in."""
        return self.rank // self.cp

    @property
    def data_size(self) -> int:
        return self.size // self.cp

    def barrier(self) -> None:
        """Wait for every rank. On gloo, so that it does not synchronise a GPU."""
        if self.size > 1:
            dist.barrier(self.control)

    def agreed_id(self) -> str:
        """Return a name that is new and the same on every rank. Collective."""
        drawn = torch.tensor([secrets.randbits(40)])
        dist.broadcast(drawn, src=0, group=self.control)
        return f"{int(drawn):010x}"

    def sum(self, values: list[float]) -> list[float]:
        """Return the element-wise sum over all ranks, in float64."""
        if self.size == 1:  # gloo takes milliseconds to find that out
            return [float(value) for value in values]
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, group=self.control)
        return tensor.tolist()


@contextmanager
def join_world(*, timeout_s: int = 1800) -> Iterator[World]:
    """Join the other processes of torchrun, or be alone; leaves the group at the end, also after an error."""
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    timeout = datetime.timedelta(seconds=timeout_s)
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=timeout)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1, timeout=timeout)
    try:
        control = dist.new_group(backend="gloo", timeout=timeout)
        yield World(dist.get_rank(), local_rank, dist.get_world_size(), device, control)
    finally:
        dist.destroy_process_group()


def sequence_group(world: World) -> dist.ProcessGroup:
    """Return the group of the `world.cp` neighbours that share a sequence with this rank. Collective."""
    groups = [dist.new_group(range(first, first + world.cp)) for first in range(0, world.size, world.cp)]
    return groups[world.data_rank]


def seed_device(seed: int, device: torch.device) -> None:
    """Seed what draws on a device, as `torch.manual_seed` does, which asks every kind of device: 2 ms a step."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def device_name(device: torch.device) -> str:
    """Return what the driver calls a device; "cpu" for the host."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@dataclass(frozen=True, slots=True)
class Meshes:
    """Over which ranks what is cut."""

    weights: DeviceMesh  # (replicas, shards), or one axis when nothing is replicated
    sequence: dist.ProcessGroup | None  # ranks that share a sequence; None: no rank shares one


def make_mesh(plan: MeshPlan, device: torch.device) -> Meshes:
    """Return the meshes of a plan: dp_replicate x dp_shard x cp, and weights are cut over dp_shard x cp.

    Ranks of a context-parallel group are neighbours: their traffic is the heaviest. A 2-D mesh with one replica would
    cost a one-rank all-reduce per block.
    """
    assert plan.dp_replicate and plan.dp_shard, "the plan passed preflight"
    names = ("dp_replicate", "dp_shard", "cp")
    mesh = init_device_mesh(device.type, (plan.dp_replicate, plan.dp_shard, plan.cp), mesh_dim_names=names)
    shards = mesh["dp_shard", "cp"]._flatten("shards")
    weights = shards if plan.dp_replicate == 1 else mesh["dp_replicate", "shards"]
    return Meshes(weights, mesh["cp"].get_group() if plan.cp > 1 else None)
