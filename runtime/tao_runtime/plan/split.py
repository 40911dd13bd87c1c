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
    groups: dict[int, list[int]] = {}
    for record in usable.tolist():
        media = dataset.columns.media_of(record)
        groups.setdefault(int(media[0]) if len(media) else -1 - record, []).append(record)
    keys = sorted(groups)
    held: list[int] = []
    for position in np.random.Generator(np.random.PCG64(seed)).permutation(len(keys)):
        if len(held) >= wanted:
            break
        held += groups[keys[position]]
    return tuple(sorted(held)) if len(held) < len(usable) else ()
