"""Exchanges between the ranks of a group that autograd sees through."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup


class _AllToAll(torch.autograd.Function):
    """Part r of dimension 0 goes to rank r. Its own adjoint."""

    @staticmethod
    def forward(ctx: Any, parts: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
        ctx.group = group
        received = torch.empty_like(parts, memory_format=torch.contiguous_format)
        dist.all_to_all_single(received, parts.contiguous(), group=group)
        return received

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return cast(torch.Tensor, _AllToAll.apply(grads[0], ctx.group)), None


class _Gather(torch.autograd.Function):
    """All ranks' parts, stacked in dimension 0. Backward sums what each rank did with this one's part."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
        ctx.group = group
        whole = part.new_empty(group.size(), *part.shape)
        dist.all_gather(list(whole.unbind()), part.contiguous(), group=group)
        return whole

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        exchanged = torch.empty_like(grads[0], memory_format=torch.contiguous_format)
        dist.all_to_all_single(exchanged, grads[0].contiguous(), group=ctx.group)
        return exchanged.sum(0), None


def all_to_all(parts: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """Return what the ranks sent here, in rank order. parts: [ranks, ...]."""
    return cast(torch.Tensor, _AllToAll.apply(parts, group))


def gather(part: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """Return [ranks, ...]: every rank's part, each of the same shape."""
    return cast(torch.Tensor, _Gather.apply(part, group))
