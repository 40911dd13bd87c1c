"""The auto-split: which records validation gets when no validation set is given. Whole clips, never halves of one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tao_runtime.data.facts import DatasetFacts


def split_records(dataset: DatasetFacts, test_size: float, *, seed: int) -> tuple[int, ...]:
    """Return the records to hold out: `test_size` of them (below 1: that share), rounded up to whole clips.

    Records that share a medium stay together, so that no clip is on both sides.
    """
    usable = np.flatnonzero(dataset.columns.usable)
    wanted = round(test_size * len(usable)) if test_size < 1 else int(test_size)
    if wanted <= 0 or wanted >= len(usable):
        return ()
    groups = _groups(dataset, usable)
    held: list[int] = []
    for position in np.random.Generator(np.random.PCG64(seed)).permutation(len(groups)):
        if len(held) >= wanted:
            break
        held += groups[position]
    return tuple(sorted(held)) if len(held) < len(usable) else ()


def _groups(dataset: DatasetFacts, records: npt.NDArray[np.int64]) -> list[list[int]]:
    """Return the records that hang together by the media they share, directly or through others."""
    columns, parent = dataset.columns, list(range(len(dataset.media)))

    def root(medium: int) -> int:
        while parent[medium] != medium:
            parent[medium] = medium = parent[parent[medium]]
        return medium

    count = np.diff(columns.media_start)[records]
    for record in records[count > 1].tolist():
        first, *others = columns.media_of(record).tolist()
        for other in others:
            parent[root(other)] = root(first)
    keys = -1 - records  # a record without media is alone
    roots = np.array([root(medium) for medium in range(len(parent))], np.int64)
    keys[count > 0] = roots[columns.media_index[columns.media_start[records[count > 0]]]]
    order = np.argsort(keys, kind="stable")
    cuts = [0, *(np.flatnonzero(np.diff(keys[order])) + 1).tolist(), len(order)]
    ordered = records[order].tolist()
    return [ordered[start:end] for start, end in pairwise(cuts)]
