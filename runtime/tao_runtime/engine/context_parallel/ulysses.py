"""From a part of the tokens with all heads to all tokens with a part of the heads, and back.

Tensor suffixes: S tokens, H heads, D values of a head; leading dimensions are kept.
"""

from __future__ import annotations

import torch
from torch.distributed import ProcessGroup

from tao_runtime.engine.context_parallel.collectives import all_to_all


def to_heads(tokens_SHD: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """Return [..., S x ranks, H / ranks, D] from this rank's [..., S, H, D]; tokens in rank order."""
    ranks = group.size()
    check_heads(tokens_SHD.shape[-2], ranks)
    parts = tokens_SHD.unflatten(-2, (ranks, -1)).movedim(-3, 0)
    return all_to_all(parts, group).movedim(0, -4).flatten(-4, -3)


def to_tokens(heads_SHD: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """Return [..., S / ranks, H x ranks, D] from this rank's [..., S, H, D]: the inverse of `to_heads`."""
    parts = heads_SHD.unflatten(-3, (group.size(), -1)).movedim(-4, 0)
    return all_to_all(parts, group).movedim(0, -3).flatten(-3, -2)


def spread_heads(keys_SHD: torch.Tensor, ranks: int) -> torch.Tensor:
    """Repeat key or value heads until every rank gets one. Worked number: 2 heads over 8 ranks -> each 4 times."""
    heads = keys_SHD.shape[-2]
    if heads >= ranks:
        return keys_SHD
    if ranks % heads:
        raise ValueError(f"{heads} key heads over {ranks} context-parallel ranks; want a divisor or a multiple")
    return keys_SHD.repeat_interleave(ranks // heads, dim=-2)


def check_heads(heads: int, ranks: int) -> None:
    if heads % ranks:
        raise ValueError(f"{heads} attention heads over {ranks} context-parallel ranks; want a multiple")
