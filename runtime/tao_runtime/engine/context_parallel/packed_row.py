"""A packed row of samples over the ranks of a group: padded to equal parts, cut, and put together again.

Tensor suffixes: S tokens of the whole row, L tokens of this rank's part, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.distributed import ProcessGroup
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from tao_runtime.engine.context_parallel.collectives import gather
from tao_runtime.engine.context_parallel.ulysses import spread_heads, to_heads, to_tokens
from tao_runtime.engine.packed import PackedAttention


@dataclass(frozen=True, slots=True)
class RowPart:
    """This rank's part of a row; the whole of it where there is no group."""

    length: int  # tokens of the row
    group: ProcessGroup | None

    @property
    def ranks(self) -> int:
        return self.group.size() if self.group else 1

    @property
    def padding(self) -> int:
        """Tokens that are added so that every rank gets as many: 10 over 4 ranks -> 2."""
        return -self.length % self.ranks

    def own(self, row: torch.Tensor, axis: int) -> torch.Tensor:
        """Return this rank's part of a tensor along its token axis; the last rank's ends in zeros."""
        if self.group is None:
            return row
        part = (self.length + self.padding) // self.ranks
        start = self.group.rank() * part
        own = row.narrow(axis, min(start, self.length), max(0, min(part, self.length - start)))
        missing = part - own.shape[axis]
        return F.pad(own, (0, 0) * (row.dim() - 1 - axis) + (0, missing)) if missing else own

    def offsets(self, offsets: torch.Tensor) -> torch.Tensor:
        """Return the samples' offsets with the padding as one more segment, which no sample sees."""
        return F.pad(offsets, (0, 1), value=self.length + self.padding) if self.padding else offsets

    def longest(self, longest: int) -> int:
        return max(longest, self.padding)

    def whole(self, part_LH: torch.Tensor) -> torch.Tensor:
        """Return the row [S, H] from every rank's part, without the padding."""
        if self.group is None:
            return part_LH
        return gather(part_LH, self.group).flatten(0, 1)[: self.length]

    def share(self, chosen: torch.Tensor) -> torch.Tensor:
        """Return this rank's share of a list along its first axis; every rank gets another one, some perhaps none."""
        return chosen if self.group is None else chosen.tensor_split(self.ranks)[self.group.rank()]


def shared_attention(attention: PackedAttention, group: ProcessGroup) -> PackedAttention:
    """Return a packed attention over the tokens of all ranks: each rank attends with its part of the heads."""

    def attend(q_HLD: torch.Tensor, k_HLD: torch.Tensor, v_HLD: torch.Tensor, **options: object) -> torch.Tensor:
        q_SHD, k_SHD, v_SHD = (
            to_heads(spread_heads(each.transpose(0, 1), group.size()), group) for each in (q_HLD, k_HLD, v_HLD)
        )
        out_SHD = attention(*(each.transpose(0, 1) for each in (q_SHD, k_SHD, v_SHD)), **options)
        return to_tokens(out_SHD, group)

    return attend
