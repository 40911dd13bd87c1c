"""Fingerprints of tensors: exact checksums of bit patterns, taken where the tensors lie, to see what has changed.

Each rank sums up its own shard and compares with its own earlier sum: nothing is gathered, only verdicts are shared.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tao_runtime.engine.dist import World
from tao_runtime.engine.weights import clean_name, local

# Numbers of a shard that are looked at; an even sample of larger ones. 2^24: all of a 4096 x 4096 matrix.
SAMPLE = 1 << 24
# Numbers widened to int64 at a time: 1 MiB stays in the cache of a CPU core; a GPU wants few and large kernels.
CHUNK = {"cpu": 1 << 17}
CHUNK_OF_DEVICE = 1 << 24
CARRY = 6364136223846793005  # odd
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def checksum(tensor: torch.Tensor) -> torch.Tensor:
    """Return the int64 sum of bit patterns, each times an odd number that depends on its place, modulo 2^64.

    A factor that is odd has an inverse: one changed number always changes the sum. 100 million float32 numbers: see
    benchmarks/results/gates_cost.json.
    """
    flat = tensor.detach().contiguous().view(-1)
    if flat.numel() > SAMPLE:
        flat = flat[:: (-(-flat.numel() // SAMPLE)) | 1]  # odd, so that it does not keep to a few columns
    total = torch.zeros((), dtype=torch.int64, device=flat.device)
    size = min(CHUNK.get(flat.device.type, CHUNK_OF_DEVICE), flat.numel())
    odd = torch.arange(size, device=flat.device) * 2 + 1
    for part in flat.split(max(size, 1)):
        bits = part.contiguous().view(INTEGERS[part.element_size()]).to(torch.int64, copy=True)
        total = total * CARRY + bits.mul_(odd[: len(bits)]).sum()
    return total


def _to_host(values: list[torch.Tensor]) -> list[int]:
    """Return scalars as numbers; one transfer."""
    return torch.stack([value.to(values[0].device) for value in values]).tolist() if values else []


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Checksums of this rank's part of every parameter."""

    names: tuple[str, ...]
    sums: tuple[int, ...]

    def changed(self, later: Fingerprints, world: World) -> set[str]:
        """Return the names of tensors that differ on any rank. Collective."""
        differs = [float(before != after) for before, after in zip(self.sums, later.sums, strict=True)]
        return {name for name, count in zip(self.names, world.sum(differs), strict=True) if count}


@torch.no_grad()
def take(model: nn.Module) -> Fingerprints:
    """Return the fingerprints of all parameters."""
    named = list(model.named_parameters())
    return Fingerprints(
        tuple(clean_name(name) for name, _ in named), tuple(_to_host([checksum(local(value)) for _, value in named]))
    )


@torch.no_grad()
def not_finite(model: nn.Module, world: World) -> dict[str, int]:
    """Return how many numbers of each parameter are not finite, where there are any. Collective."""
    named = list(model.named_parameters())
    counts = _to_host([(~torch.isfinite(local(value))).sum() for _, value in named])
    totals = world.sum([float(count) for count in counts])
    return {clean_name(name): int(count) for (name, _), count in zip(named, totals, strict=True) if count}
