"""Attention between segments that lie end to end: segment i of the queries sees segment i of the keys, and no other.

Queries and keys may differ in length per segment: a video that sees its text and itself, say.

Tensor suffixes: S tokens, H heads (keys and values may have fewer), D values of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

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
        return _kernel(q_SHD, k_SHD, v_SHD, (q_lengths, k_lengths), causal=causal)
    return exact_segments(q_SHD, k_SHD, v_SHD, q_lengths, k_lengths, causal=causal)


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


def _kernel(
    q_SHD: torch.Tensor,
    k_SHD: torch.Tensor,
    v_SHD: torch.Tensor,
    lengths: tuple[Sequence[int], Sequence[int]],
    *,
    causal: bool,
) -> torch.Tensor:
    """torch's variable-length flash attention: half precision, CUDA only."""
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - its import needs a CUDA build

    starts_q, starts_k = (
        torch.tensor([0, *accumulate(each)], dtype=torch.int32, device=q_SHD.device) for each in lengths
    )
    out = varlen_attn(
        q_SHD.contiguous(),
        k_SHD.contiguous(),
        v_SHD.contiguous(),
        starts_q,
        starts_k,
        max(lengths[0]),
        max(lengths[1]),
        window_size=(-1, 0) if causal else (-1, -1),
        enable_gqa=q_SHD.shape[1] != k_SHD.shape[1],
    )
    assert isinstance(out, torch.Tensor)
    return out
