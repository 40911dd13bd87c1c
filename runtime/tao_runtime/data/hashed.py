"""Records told apart by a 64-bit hash of what they say: 8 bytes a record, and no text is kept."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

BUCKETS: Final = 16  # hashes are compared in so many parts, to sort less at a time
Places = npt.NDArray[np.int64]


class HashedRecords:
    """Hashes in file order. A place is a position among them, and not always the number of its record."""

    def __init__(self) -> None:
        self.hashes = array("q")
        self._records: array[int] | None = None  # of each place; None: no record was left out so far

    def __len__(self) -> int:
        return len(self.hashes)

    def add(self, record: int, value: int) -> None:
        """Take the hash of a record, which comes after those that were taken."""
        if self._records is not None:
            self._records.append(record)
        elif record != len(self.hashes):
            self._records = array("i", range(len(self.hashes)))
            self._records.append(record)
        self.hashes.append(value)

    def record(self, place: int) -> int:
        return place if self._records is None else self._records[place]

    def recurring(self) -> Iterator[tuple[Places, Places]]:
        """Yield places whose hash stood earlier, each beside the first place that has it; in parts, in no order."""
        hashes = np.frombuffer(self.hashes, np.int64) if len(self) else np.empty(0, np.int64)
        lowest = hashes.view(np.uint8)[:: hashes.itemsize] % BUCKETS  # any byte does: equal hashes have it in common
        for bucket in range(BUCKETS):
            chosen = np.flatnonzero(lowest == bucket)
            alone = np.sort(hashes[chosen])
            if not (alone[1:] == alone[:-1]).any():  # sorting numbers takes a tenth of sorting their places
                continue
            order = chosen[np.argsort(hashes[chosen], kind="stable")]
            values = hashes[order]
            starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]])
            first = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))  # stable: the first of each group
            later = order != first
            yield order[later], first[later]
