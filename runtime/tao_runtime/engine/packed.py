"""Attention over packed sequences: samples lie end to end in one row and never see each other.

Registered with transformers under a name that holds "flash", so that its vision towers hand over all segments at once
(`is_flash_attention_requested`, 5.23.0) instead of looping over them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from transformers import AttentionInterface, AttentionMaskInterface

from tao_runtime.engine.varlen import HALF, varlen_kernel

NAME = "flash_packed"
# Attribute of an attention module whose row lies over several ranks: what attends instead of `attend_segments`.
SHARED = "attend_shared"
# (q_HSD, k_HSD, v_HSD, offsets=, longest=, scale=, causal=) -> [S, H, D]
PackedAttention = Callable[..., torch.Tensor]


def packed_attention(
    module: Any,
    query_BHSD: torch.Tensor,
    key_BHSD: torch.Tensor,
    value_BHSD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each segment; B is 1. Returns [1, S, H, D].

    Options used: `cu_seq_lens_q` (int32 [segments + 1], on the query's device), `max_length_q`, `scaling`, `is_causal`.
    """
    causal = options.get("is_causal")
    out_SHD = getattr(module, SHARED, attend_segments)(
        query_BHSD[0],
        key_BHSD[0],
        value_BHSD[0],
        offsets=options["cu_seq_lens_q"],
        longest=options["max_length_q"],
        scale=options["scaling"],
        causal=bool(module.is_causal if causal is None else causal),
    )
    return out_SHD[None], None


def attend_segments(
    q_HSD: torch.Tensor, k_HSD: torch.Tensor, v_HSD: torch.Tensor, *, offsets: torch.Tensor, **options: Any
) -> torch.Tensor:
    """Attend within the segments between `offsets`, by the kernel that fits. Returns [S, H, D]."""
    if q_HSD.is_cuda and q_HSD.dtype in HALF:
        q_SHD, k_SHD, v_SHD = (tensor.transpose(0, 1) for tensor in (q_HSD, k_HSD, v_HSD))
        longest = int(options.pop("longest"))
        return varlen_kernel(q_SHD, k_SHD, v_SHD, (offsets, offsets), (longest, longest), **options)
    scale, causal = options["scale"], options["causal"]
    return exact_attention(q_HSD, k_HSD, v_HSD, offsets.diff().tolist(), scale=scale, causal=causal)


def exact_attention(
    q_HSD: torch.Tensor, k_HSD: torch.Tensor, v_HSD: torch.Tensor, lengths: list[int], *, scale: float, causal: bool
) -> torch.Tensor:
    """The same in any precision on any device: one call per run of segments of one length. Returns [S, H, D]."""
    heads = len(q_HSD)
    if k_HSD.shape[0] != heads:
        repeat = heads // k_HSD.shape[0]
        k_HSD, v_HSD = (tensor.repeat_interleave(repeat, dim=0) for tensor in (k_HSD, v_HSD))
    runs = [(length, len(list(same))) for length, same in itertools.groupby(lengths)]
    if len(runs) == 1:
        return _attend(q_HSD, k_HSD, v_HSD, lengths[0], scale=scale, causal=causal)
    sizes = [length * count for length, count in runs]
    # Split, not sliced: one concatenation in backward instead of a zero-filled row for each slice.
    parts = zip(runs, *(tensor.split(sizes, dim=1) for tensor in (q_HSD, k_HSD, v_HSD)), strict=True)
    return torch.cat([_attend(q, k, v, length, scale=scale, causal=causal) for (length, _), q, k, v in parts])


def _attend(
    q_HSD: torch.Tensor, k_HSD: torch.Tensor, v_HSD: torch.Tensor, length: int, *, scale: float, causal: bool
) -> torch.Tensor:
    """Attend within segments of one length that lie end to end; returns [S, H, D]."""
    q, k, v = (tensor.unflatten(1, (-1, length)).transpose(0, 1) for tensor in (q_HSD, k_HSD, v_HSD))
    out_NHLD = F.scaled_dot_product_attention(q, k, v, scale=scale, is_causal=causal)
    return out_NHLD.transpose(1, 2).flatten(0, 1)


def _no_mask(*args: Any, **options: Any) -> None:
    """Segments are kept apart by their offsets, not by a mask of S x S."""


def register() -> str:
    """Make the attention known to transformers; returns its name."""
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    return NAME
