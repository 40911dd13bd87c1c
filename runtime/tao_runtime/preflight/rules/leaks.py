"""Clips that a validation set shares with the training set, under whatever name, and a split that keeps them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tao_runtime.data.facts import DatasetFacts, Facts
from tao_runtime.data.source_video import Cut, cut_of_name
from tao_runtime.plan.model import Plan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.spec.base import Spec

SIDES: Final = ("train", "val")
COMMON: Final = 0.25  # a source of more than this share of a large set is a collection, not a video
SMALL: Final = 8  # sets of fewer media are too small to tell
SHOWN: Final = 3  # groups, and records of each, that a finding names
_SCORE = "a score on clips that were trained on is no score"


@dataclass(frozen=True, slots=True)
class Group:
    """What the two sets share: the records of either side that name one source."""

    name: str
    records: dict[str, tuple[int, ...]]  # by side
    example: tuple[Path, Path]  # training file, validation file
    overlaps: bool = False  # in time, as far as records or names say

    @property
    def moved(self) -> str:
        """The side whose records are fewer, and move to the other one."""
        return min(SIDES, key=lambda side: (len(self.records[side]), side != "val"))


def move_text(groups: list[Group]) -> str:
    """Say which records a split by groups moves: the fewer ones of each group, to the side that has more of it."""
    moves = []
    for side, other in (("val", "training"), ("train", "validation")):
        mine = [group for group in groups if group.moved == side]
        if not mine:
            continue
        count = sum(len(group.records[side]) for group in mine)
        names = ", ".join(f"{group.name} (records {shown(group.records[side])})" for group in mine[:SHOWN])
        more = f" and {len(mine) - SHOWN:,} more groups" if len(mine) > SHOWN else ""
        moves.append(
            f"move {count:,} {'validation' if side == 'val' else 'training'} records to {other}: {names}{more}"
        )
    return "split by groups: " + "; ".join(moves)


def shown(records: Sequence[int]) -> str:
    """Return the first of some records, for a sentence."""
    return ", ".join(map(str, records[:SHOWN])) + (", ..." if len(records) > SHOWN else "")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sets that must share nothing: one is learnt from, the other judges what was learnt."""

    train: DatasetFacts
    val: DatasetFacts  # of a training, or what an evaluation asks
    same_content: tuple[tuple[Path, ...], ...]  # files of the two that hold the same bytes
    left_out: frozenset[int] = frozenset()  # training records that nothing is learnt from

    def owners(self) -> dict[str, dict[Path, list[int]]]:
        """Return, by side, the records that name each file."""
        train = owners_of(self.train)
        if self.left_out:
            kept = {path: [one for one in records if one not in self.left_out] for path, records in train.items()}
            train = {path: records for path, records in kept.items() if records}
        return {"train": train, "val": owners_of(self.val)}


def pair_of(facts: Facts) -> Pair | None:
    """Return the training and the validation set of a training; None if there are not both, or they are one file."""
    if not both_sides(facts):
        return None
    return Pair(facts.datasets["train"], facts.datasets["val"], facts.same_content)


def by_path(pair: Pair) -> list[Group]:
    """Return the groups of one file each that both sets name by the same path."""
    owners = pair.owners()
    both = [path for path in owners["val"] if path in owners["train"]]
    return [Group(path.name, {side: tuple(owners[side][path]) for side in SIDES}, (path, path)) for path in both]


def by_content(pair: Pair) -> list[Group]:
    """Return the groups of files with the same bytes; a file that both sets name is no copy of another."""
    owners = pair.owners()
    owners["val"] = {path: records for path, records in owners["val"].items() if path not in owners["train"]}
    groups = []
    for paths in pair.same_content:
        files = {side: [path for path in paths if path in owners[side]] for side in SIDES}
        if all(files.values()):
            records = {side: tuple(sorted(r for path in files[side] for r in owners[side][path])) for side in SIDES}
            groups.append(Group(files["train"][0].name, records, (files["train"][0], files["val"][0])))
    return groups


def by_source(pair: Pair) -> list[Group]:
    """Return the groups of clips cut from the same source video; files that are themselves the same are left out."""
    owners = pair.owners()
    same = (owners["train"].keys() & owners["val"].keys()) | {path for paths in pair.same_content for path in paths}
    sources: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: {side: [] for side in SIDES})
    for side, data in (("train", pair.train), ("val", pair.val)):
        cuts = placed_cuts(data, owners[side])
        common = common_sources(cuts)
        for record, path, cut in cuts:
            if cut.source not in common and path not in same:
                sources[cut.source][side].append((record, path, cut))
    groups = []
    for name, found in sources.items():
        if all(found.values()):
            both = _overlapping(found["train"], found["val"])
            (_, first, _), (_, second, _) = both or (found["train"][0], found["val"][0])
            records = {side: tuple(sorted({record for record, *_ in found[side]})) for side in SIDES}
            groups.append(Group(name, records, (first, second), both is not None))
    return sorted(groups, key=lambda group: not group.overlaps)


Clip = tuple[int, Path, Cut]


def _overlapping(train: list[Clip], val: list[Clip]) -> tuple[Clip, Clip] | None:
    """Return two clips that share time; sorted by start, so that few are compared."""
    spans = sorted(((cut.start, clip) for clip in train if (cut := clip[2]).start is not None), key=lambda one: one[0])
    for clip in val:
        for _, other in spans:
            if clip[2].end is not None and other[2].start is not None and other[2].start >= clip[2].end:
                break
            if other[2].overlaps(clip[2]):
                return other, clip
    return None


def common_sources(cuts: list[Clip]) -> set[str]:
    """Return the names that so many files of a large set share that they are those of collections."""
    files = {(path, cut.source) for _, path, cut in cuts}
    counts = Counter(source for _, source in files)
    return {name for name, count in counts.items() if len(files) >= SMALL and count > COMMON * len(files)}


def owners_of(data: DatasetFacts) -> dict[Path, list[int]]:
    """Return the records that name each file."""
    columns, owners = data.columns, defaultdict[Path, list[int]](list)
    records = np.repeat(np.arange(len(columns)), np.diff(columns.media_start)).tolist()
    for record, medium in zip(records, columns.media_index.tolist(), strict=True):
        header = data.media[medium]
        if header is not None:
            owners[header.path].append(record)
    return dict(owners)


def placed_cuts(data: DatasetFacts, owners: dict[Path, list[int]]) -> list[Clip]:
    """Return every (record, file, place in its source) that is known; what a record says comes before names."""
    found = []
    for path, records in owners.items():
        named = cut_of_name(path.stem)
        for record in records:
            cut, said = named, data.cuts.get(record)
            if said is not None and said.source:
                cut = said
            elif said is not None and cut is not None:
                cut = Cut(cut.source, said.start, said.end)
            if cut is not None:
                found.append((record, path, cut))
    return found


def both_sides(facts: Facts) -> bool:
    """Tell whether there is a training and a validation set, and they are not one file."""
    train, val = (facts.datasets.get(side) for side in SIDES)
    return train is not None and val is not None and train.sha256 != val.sha256


def _where(spec: Spec) -> str:
    return next((ref.annotation_key for ref in spec.datasets() if ref.label == "val"), "val")


@rule("dataset/train-val-same-content", "warning", actions=("train",), source=_SCORE)
def same_content(spec: Spec, facts: Facts, plan: Plan | None) -> Iterator[Problem]:
    """No file of the validation set holds the same bytes as one of the training set, under whatever name."""
    if (pair := pair_of(facts)) is None or not (groups := by_content(pair)):
        return
    count = sum(len(group.records["val"]) for group in groups)
    first, second = groups[0].example
    saw = f"{count:,} of {facts.datasets['val'].num_records:,} validation records name copies of training media"
    saw += f": {second} is {first}"
    yield Problem(_where(spec), saw, "clips that are not in the training set", move_text(groups), file=_file(facts))


@rule("dataset/train-val-same-source", "warning", actions=("train",), source=_SCORE)
def same_source(spec: Spec, facts: Facts, plan: Plan | None) -> Iterator[Problem]:
    """No clip of the validation set is cut from a video that the training set has clips of, by records or names."""
    if (pair := pair_of(facts)) is None or not (groups := by_source(pair)):
        return
    count, overlap = sum(len(group.records["val"]) for group in groups), sum(group.overlaps for group in groups)
    first, second = groups[0].example
    saw = f"{count:,} of {facts.datasets['val'].num_records:,} validation records are cut from {len(groups):,} videos"
    saw += f" that are trained on, {overlap:,} of them in overlapping parts" if overlap else " that are trained on"
    saw += f": {second.name} and {first.name}"
    yield Problem(_where(spec), saw, "source videos of its own", move_text(groups), file=_file(facts))


def _file(facts: Facts) -> str:
    return str(facts.datasets["val"].annotation)
