"""A split by groups, written: records that share media, copies of them, or a source video come to one side."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tao_runtime.data.facts import DatasetFacts, Facts
from tao_runtime.data.llava import MEDIA_KEYS
from tao_runtime.preflight.rules.leaks import SIDES, both_sides, common_sources, owners_of, placed_cuts

SHARE: Final = 0.1  # of the records, for a validation set that has none of its own
Record = tuple[str, int]  # side it is read from, index there


@dataclass(frozen=True, slots=True)
class Split:
    """Which records go where, in order; those of the own side first."""

    sides: dict[str, tuple[Record, ...]]
    groups: int  # that were on both sides
    moved: int


def regroup(facts: Facts) -> Split | None:
    """Return a split without leaks that moves little; None: nothing leaks, or one group holds nearly everything."""
    if any(facts.datasets.get(side) is None for side in SIDES):
        return None
    one_file = not both_sides(facts)
    groups = _groups(facts, SIDES[:1] if one_file else SIDES)
    wanted = facts.datasets["val"].num_records
    if one_file:  # every record is in both: the file is split anew
        wanted = max(1, round(SHARE * facts.datasets["train"].num_records))
        mixed, place = sorted(groups, key=_draw), dict.fromkeys(range(len(groups)), "train")
    else:
        mixed = sorted((group for group in groups if len({side for side, _ in group}) > 1), key=len)
        place = {number: _majority(group) for number, group in enumerate(mixed)}
    if not mixed:
        return None
    loose = {record for group in mixed for record in group}
    kept = {side: [(side, index) for index in range(_count(facts, side, one_file)) if (side, index) not in loose]
            for side in SIDES}  # fmt: skip
    count = len(kept["val"]) + sum(len(mixed[number]) for number, side in place.items() if side == "val")
    for number, group in enumerate(mixed):
        if count >= wanted / 2 and not one_file:
            break
        enough = count + len(group) <= wanted or (not count and 2 * len(group) < len(loose) + len(kept["train"]))
        if place[number] == "train" and enough:
            place[number], count = "val", count + len(group)
    for number, group in enumerate(mixed):
        kept[place[number]] += group
    sides = {side: tuple(sorted(kept[side], key=lambda one, side=side: (one[0] != side, one))) for side in SIDES}  # type: ignore[misc]
    if not all(sides.values()):
        return None
    moved = sum(origin != side for side, records in sides.items() for origin, _ in records)
    return Split(sides, len(mixed), moved)


def _count(facts: Facts, side: str, one_file: bool) -> int:
    return 0 if one_file and side == "val" else facts.datasets[side].num_records


def _draw(group: list[Record]) -> bytes:
    return hashlib.blake2b(repr(group[0]).encode(), digest_size=8).digest()


def _majority(group: list[Record]) -> str:
    return max(SIDES, key=lambda side: sum(one == side for one, _ in group))  # a tie: train


def _groups(facts: Facts, sides: tuple[str, ...]) -> list[list[Record]]:
    """Return the records that hang together: by a file, its copies, or its source video."""
    copies = {path: paths[0] for paths in facts.same_content for path in paths}
    first: dict[object, Record] = {}
    parent: dict[Record, Record] = {}

    def root(record: Record) -> Record:
        while parent.setdefault(record, record) != record:
            parent[record] = record = parent[parent[record]]
        return record

    owners = {side: owners_of(facts.datasets[side]) for side in sides}
    cuts = {side: placed_cuts(facts.datasets[side], owners[side]) for side in sides}
    common = set().union(*(common_sources(found) for found in cuts.values()))
    marks = [(side, record, path.resolve()) for side in sides for path, records in owners[side].items()
             for record in records]  # fmt: skip
    marks = [(side, record, copies.get(path, path)) for side, record, path in marks]
    sources = [
        (side, record, cut.source) for side in sides for record, _, cut in cuts[side] if cut.source not in common
    ]
    for side, record, mark in (*marks, *sources):
        other = first.setdefault(mark, (side, record))
        parent[root((side, record))] = root(other)
    found: dict[Record, list[Record]] = defaultdict(list)
    for record_of in sorted(parent):
        found[root(record_of)].append(record_of)
    return list(found.values())


def write_split(facts: Facts, split: Split, folder: Path) -> tuple[dict[str, Path], Path]:
    """Write train.json and val.json; returns them, and the media root that both of them have."""
    roots = [facts.datasets[side].media_root.resolve() for side in SIDES]
    root = Path(os.path.commonpath(roots))
    folder.mkdir(parents=True, exist_ok=True)
    targets = {}
    for side in SIDES:
        targets[side] = folder / f"{side}.json"
        temporary = targets[side].with_suffix(".tmp")
        with temporary.open("wb") as file:
            seen: set[bytes] = set()
            for record in _records(facts, split.sides[side], side, root):
                key = hashlib.blake2b(record, digest_size=16).digest()
                if key not in seen:
                    file.write((b",\n" if seen else b"[\n") + record)
                    seen.add(key)
            file.write(b"\n]\n")
        temporary.replace(targets[side])
    return targets, root


def _records(facts: Facts, records: tuple[Record, ...], side: str, root: Path) -> Iterator[bytes]:
    for origin in sorted({one for one, _ in records}, key=lambda one: one != side):
        data = facts.datasets[origin]
        with data.annotation.open("rb") as file:
            for index in (number for one, number in records if one == origin):
                file.seek(int(data.columns.offset[index]))
                raw = file.read(int(data.columns.size[index]))
                same = origin == side and data.media_root.resolve() == root
                yield raw if same else _rebased(raw, data, root, "" if origin == side else origin)


def _rebased(raw: bytes, data: DatasetFacts, root: Path, origin: str) -> bytes:
    """Return a record whose media are named from another root; one from the other side says so in its id."""
    record = json.loads(raw)
    for key in MEDIA_KEYS:
        value = record.get(key)
        if value:
            names = value if isinstance(value, list) else [value]
            moved = [os.path.relpath(data.media_root.resolve() / name, root) for name in names]
            record[key] = moved if isinstance(value, list) else moved[0]
    if origin and "id" in record:
        record["id"] = f"{origin}-{record['id']}"
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")
