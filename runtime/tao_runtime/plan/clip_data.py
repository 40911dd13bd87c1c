"""Which clips of a data set are trained on: every window asked, what is left out counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import numpy as np

from tao_runtime.data.clips import Clip, ClipRules, Drop, Window, decide, starts
from tao_runtime.data.facts import DatasetFacts, Facts, WindowColumns
from tao_runtime.data.lengths import MOST, Lengths
from tao_runtime.plan.model import DatasetPlan
from tao_runtime.spec.base import DatasetRef


def windows_of(columns: WindowColumns, record: int) -> Iterator[Window]:
    """Yield the windows of a clip, in order."""
    for number in range(int(columns.start[record]), int(columns.start[record + 1])):
        yield Window(int(columns.first[number]), int(columns.last[number]), int(columns.interval[number]))


def samples_of(facts: DatasetFacts, record: int, rules: ClipRules) -> list[Clip | Drop]:
    """Return what each window of a clip gives; where the unit is a start, each possible start is a window."""
    return [given for _, given in windows_and_samples(facts, record, rules)]


def windows_and_samples(facts: DatasetFacts, record: int, rules: ClipRules) -> list[tuple[Window, Clip | Drop]]:
    """Return each window of a clip with what it gives."""
    assert facts.windows is not None
    (index,) = facts.columns.media_of(record)
    header = facts.media[index]
    windows = list(windows_of(facts.windows, record))
    if rules.unit == "start" and header is not None:
        windows = starts(header, rules) or windows
    return [(window, decide(header, window, rules)) for window in windows]


def make_clip_dataset(facts: Facts, ref: DatasetRef, rules: ClipRules) -> DatasetPlan:
    """Return the data set of a plan: how many samples an epoch has, which clips give none, and why windows do not.

    `dropped` counts windows; clips with an error of their own are in the report, and count as `unusable`.
    """
    data = facts.datasets.get(ref.label)
    if data is None:
        return DatasetPlan(annotation=ref.annotation, media_root=ref.media, num_records=None, format=ref.format)
    dropped: Counter[str] = Counter()
    exclude, count = [], 0
    for record in range(data.num_records):
        if not data.columns.usable[record]:
            dropped["unusable"] += 1
            exclude.append(record)
            continue
        found = samples_of(data, record, rules)
        kept = sum(isinstance(each, Clip) for each in found)
        dropped.update(each.reason for each in found if isinstance(each, Drop))
        if not kept:
            exclude.append(record)
        count += min(kept, 1) if rules.unit == "clip" else kept
    return DatasetPlan(
        annotation=str(data.annotation),
        media_root=str(data.media_root),
        num_records=count,
        sha256=data.sha256,
        exclude=tuple(exclude),
        format=ref.format,
        dropped=dict(dropped),
    )


def first_dropped(data: DatasetFacts, rules: ClipRules, reasons: Collection[str]) -> dict[str, tuple[int, Drop]]:
    """Return the first record of which a window is left out, and why, by reason."""
    found: dict[str, tuple[int, Drop]] = {}
    for record in data.columns.usable.nonzero()[0].tolist():
        if len(found) == len(reasons):
            break
        for given in samples_of(data, record, rules):
            if isinstance(given, Drop) and given.reason in reasons:
                found.setdefault(given.reason, (record, given))
    return found


def clip_lengths(facts: Facts, label: str, rules: ClipRules) -> Lengths:
    """Return the tokens of each clip of a data set, of its longest window, without text; 0 where it gives none."""
    data = facts.datasets.get(label)
    if data is None:
        return np.zeros(0, np.int32)
    lengths = np.zeros(data.num_records, np.int32)
    for record in data.columns.usable.nonzero()[0].tolist():
        clips = (each for each in samples_of(data, record, rules) if isinstance(each, Clip))
        lengths[record] = min(max((clip.tokens for clip in clips), default=0), MOST)
    return lengths
