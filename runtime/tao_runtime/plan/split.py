"""The auto-split: which records validation gets when no validation set is given. Whole clips, never halves of one."""

from __future__ import annotations

import numpy as np

from tao_runtime.data.facts import DatasetFacts


def split_records(dataset: DatasetFacts, test_size: float, *, seed: int) -> tuple[int, ...]:
    """Return the records to hold out: `test_size` of them (below 1: that share), rounded up to whole clips.

    Records that share a medium stay together, so that no clip is on both sides.
    """
    usable = np.flatnonzero(dataset.columns.usable)
    wanted = round(test_size * len(usable)) if test_size < 1 else int(test_size)
    if wanted <= 0 or wanted >= len(usable):
        return ()
    groups = _groups(dataset, usable.tolist())
    held: list[int] = []
    for position in np.random.Generator(np.random.PCG64(seed)).permutation(len(groups)):
        if len(held) >= wanted:
            break
        held += groups[position]
    return tuple(sorted(held)) if len(held) < len(usable) else ()


def _groups(dataset: DatasetFacts, records: list[int]) -> list[list[int]]:
    """Return the records that hang together by the media they share, directly or through others."""
    parent = list(range(len(dataset.media)))

    def root(medium: int) -> int:
        while parent[medium] != medium:
            parent[medium] = medium = parent[parent[medium]]
        return medium

    for record in records:
        first, *others = dataset.columns.media_of(record).tolist() or [None]
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[int, list[int]] = {}
    for record in records:
        media = dataset.columns.media_of(record)
        groups.setdefault(root(int(media[0])) if len(media) else -1 - record, []).append(record)
    return [groups[key] for key in sorted(groups)]
