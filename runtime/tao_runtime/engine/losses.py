"""Losses whose full logits never exist."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it
from torch.utils.checkpoint import checkpoint

# Logits of one chunk: 2^26 numbers, 256 MiB in float32. 152k vocabulary -> 441 rows at a time.
CHUNK_NUMBERS = 1 << 26


def summed_nll(
    hidden_NH: torch.Tensor,
    targets_N: torch.Tensor,
    head: Callable[[torch.Tensor], torch.Tensor],
    *,
    vocabulary: int,
    chunk_numbers: int = CHUNK_NUMBERS,
) -> torch.Tensor:
    """Return the summed negative log-likelihood of targets under `head(hidden)`, float32, scalar.

    Rows go through the head in chunks, whose logits are computed again in backward: peak memory is one chunk's, not
    N x vocabulary. An empty selection gives 0 and still reaches every parameter.
    """

    def chunk_loss(rows_NH: torch.Tensor, wanted_N: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(head(rows_NH).float(), wanted_N, reduction="sum")

    size = max(1, chunk_numbers // vocabulary)
    if len(targets_N) <= size:
        return chunk_loss(hidden_NH, targets_N)
    total = hidden_NH.new_zeros((), dtype=torch.float32)
    for rows_NH, wanted_N in zip(hidden_NH.split(size), targets_N.split(size), strict=True):
        total = total + checkpoint(chunk_loss, rows_NH, wanted_N, use_reentrant=False)
    return total
