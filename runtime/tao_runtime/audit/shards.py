"""One FSDP shard of N: which N explains the rows of a tensor, and which one explains most tensors.

FSDP2 cuts the first dimension as torch.chunk does: into pieces of ceil(rows / N), the last one what is left. 8 rows on
3 ranks are 3, 3, 2; so 2 of 8 rows may be the last of 3 or any of 4: only all tensors together tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_SHARDS: Final = 1024

Choices = Mapping[int, bool]  # N -> the rows are those of a full piece, not of a last one that is shorter


@lru_cache(maxsize=4096)
def shards_of(own: int, whole: int) -> Choices:
    """Return every N of which some rank holds `own` of `whole` rows."""
    if not 0 < own < whole:
        return {}
    choices = {}
    for number in range(2, MAX_SHARDS + 1):
        size = -(-whole // number)
        if own in (size, whole % size):
            choices[number] = own == size
    return choices


def shards_at(first: int, own: int, whole: int) -> Choices:
    """Return every N of which some rank holds `own` rows that begin at `first`."""
    return {
        number: exact
        for number, exact in shards_of(own, whole).items()
        if first % -(-whole // number) == 0 and (exact or first + own == whole)
    }


@dataclass(frozen=True, slots=True)
class Vote:
    """The N that explains most tensors."""

    number: int | None  # None: no N explains any
    explained: int  # tensors
    text: str  # the N, and whether it may be more


def vote(tensors: Iterable[Choices]) -> Vote:
    """Choose an N. Among those that explain as many, full pieces count more, then the smallest N is taken."""
    counts: Counter[int] = Counter()
    full: Counter[int] = Counter()
    for choices in tensors:
        counts.update(choices.keys())
        full.update(number for number, exact in choices.items() if exact)
    if not counts:
        return Vote(None, 0, "")
    best = max(counts, key=lambda number: (counts[number], full[number], -number))
    same = sum(counts[number] == counts[best] and full[number] == full[best] for number in counts)
    return Vote(best, counts[best], f"{best}" if same == 1 else f"{best} (or more)")
