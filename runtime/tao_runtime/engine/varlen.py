"""Attention between segments that lie end to end: segment i of the queries sees segment i of the keys, and no other.

Queries and keys may differ in length per segment: a video that sees its text and itself, say.

Tensor suffixes: S tokens, H heads (keys and values may have fewer), D values of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

HALF = (torch.float16, torch.bfloat16)


def segment_attention(
    q_SHD: torch.Tensor,
    k_SHD: torch.Tensor,
    v_SHD: torch.Tensor,
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
    *,
    causal: bool = False,
) -> torch.Tensor:
    """Return [S, H, D]. causal: for segments of equal lengths."""
    if q_SHD.is_cuda and q_SHD.dtype in HALF:
        starts = (_offsets(q_lengths, q_SHD.device), _offsets(k_lengths, q_SHD.device))
        return varlen_kernel(q_SHD, k_SHD, v_SHD, starts, (max(q_lengths), max(k_lengths)), causal=causal)
    return exact_segments(q_SHD, k_SHD, v_SHD, q_lengths, k_lengths, causal=causal)


def _offsets(lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


def exact_segments(
    q_SHD: torch.Tensor,
    k_SHD: torch.Tensor,
    v_SHD: torch.Tensor,
    q_lengths: Sequence[int],
    k_lengths: Sequence[int],
    *,
    causal: bool,
) -> torch.Tensor:
    """In any precision on any device: one call per distinct pair of lengths."""
    places: dict[tuple[int, int], list[int]] = {}
    for index, pair in enumerate(zip(q_lengths, k_lengths, strict=True)):
        places.setdefault(pair, []).append(index)
    queries, keys, values = q_SHD.split(list(q_lengths)), k_SHD.split(list(k_lengths)), v_SHD.split(list(k_lengths))
    parts: list[torch.Tensor] = [q_SHD] * len(queries)
    for group in places.values():
        q, k, v = (torch.stack([each[index] for index in group]).transpose(1, 2) for each in (queries, keys, values))
        out_NHSD = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])
        for index, part in zip(group, out_NHSD.transpose(1, 2), strict=True):
            parts[index] = part
    return torch.cat(parts)


def varlen_kernel(
    q_SHD: torch.Tensor,
    k_SHD: torch.Tensor,
    v_SHD: torch.Tensor,
    offsets: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    **options: Any,
) -> torch.Tensor:
    """torch's variable-length flash attention: half precision, CUDA only. Returns [S, H, D].

    Of `offsets` (int32 [segments + 1] on the device) and `longest`, the first is that of the queries, the second of
    the keys. Options: causal, and scale (None: 1 / sqrt(D)).
    """
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - its import needs a CUDA build

    out = varlen_attn(
        q_SHD.contiguous(),
        k_SHD.contiguous(),
        v_SHD.contiguous(),
        *offsets,
        *longest,
        scale=options.get("scale"),
        window_size=(-1, 0) if options["causal"] else (-1, -1),
        enable_gqa=q_SHD.shape[1] != k_SHD.shape[1],
    )
    assert isinstance(out, torch.Tensor)
    return out
