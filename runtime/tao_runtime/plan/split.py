"""The auto-split: which records validation gets when no validation set is given. Whole clips, never halves of one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tao_runtime.data.facts import DatasetFacts


def split_records(dataset: DatasetFacts, test_size: float, *, seed: int) -> tuple[int, ...]:
    """Return the records to hold out: `test_size` of them (below 1: that share), rounded up to whole clips.

    Records that share a medium stay together, so that no clip is on both sides.
    """
    usable = np.flatnonzero(dataset.columns.usable).astype(np.int32)
    wanted = round(test_size * len(usable)) if test_size < 1 else int(test_size)
    if wanted <= 0 or wanted >= len(usable):
        return ()
    group = _groups(dataset, usable)
    sizes = np.bincount(group)
    drawn = np.random.Generator(np.random.PCG64(seed)).permutation(len(sizes))
    enough = 1 + int(np.searchsorted(np.cumsum(sizes[drawn]), wanted))
    chosen = np.zeros(len(sizes), np.bool_)
    chosen[drawn[:enough]] = True
    held = usable[chosen[group]].tolist()
    return tuple(held) if len(held) < len(usable) else ()


def _groups(dataset: DatasetFacts, records: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the group of each record: records hang together by the media they share, directly or through others.

    Groups are numbered from 0: records without media, each alone, from the last one on; then by their first medium.
    """
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
    alone, group = count == 0, np.empty(len(records), np.int32)
    num_alone = int(alone.sum())
    group[alone] = np.arange(num_alone - 1, -1, -1)
    roots = np.array([root(medium) for medium in range(len(parent))], np.int32)
    named = roots[columns.media_index[columns.media_start[records[~alone]]]]
    occurs = np.zeros(len(parent), np.int32)
    occurs[named] = 1
    group[~alone] = num_alone + (np.cumsum(occurs, dtype=np.int32) - 1)[named]
    return group
