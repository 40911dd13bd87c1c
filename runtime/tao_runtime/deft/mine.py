"""Mining: clips of the slices that the model gets wrong, from a pool, and never one that is evaluated on."""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tao_runtime.data.fold import At, Collector, RuleInfo, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.deft.parquet import read_gaps
from tao_runtime.deft.records import AnnotationSet, id_of, inside, media_of, question_of, truth_of, without_tags
from tao_runtime.errors import Finding, FindingsError, Frozen
from tao_runtime.score.answer import normalise_text

Reason = Literal[
    "held-out",
    "in-train",
    "duplicate-in-pool",
    "over-limit",
    "media-missing",
    "media-outside",
    "no-media",
    "not-object",
]
SliceKey = tuple[str, str]  # question without tags, ground truth; both normalised

_SOURCE = "no clip that is evaluated on may be trained on: content decides, not the name"
UNREADABLE = RuleInfo("deft/media-unreadable", "error", "Media to keep out of training can be read.", _SOURCE)


class Exclusion(Frozen):
    """One pool record of a weak slice that was not taken, and why."""

    record: int
    id: str | None
    reason: Reason
    like: str | None = None  # the file with the same content


@dataclass(frozen=True, slots=True)
class MinedRecord:
    """A pool record that was taken. Content hashes are of its media, in order."""

    row: int
    record: Mapping[str, object]
    sha256: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mined:
    """What mining selected, worst slice first."""

    gaps: Path
    pool: AnnotationSet
    held_out: tuple[AnnotationSet, ...]
    limit: int | None
    seed: int
    records: tuple[MinedRecord, ...]
    taken_by_slice: Mapping[SliceKey, int]  # also the slices for which the pool had nothing: 0
    exclusions: tuple[Exclusion, ...]
    num_other_slices: int  # pool records that no gap asks for


def mine(
    gaps_parquet: Path,
    *,
    pool: AnnotationSet,
    train: AnnotationSet,
    held_out: Sequence[AnnotationSet],
    limit: int | None = None,
    seed: int = 0,
) -> Mined:
    """Select up to `limit` pool records (None: all) whose question and ground truth the model fails on.

    The slice with most failures is emptied first; within a slice the order is random by `seed`. A clip whose bytes
    (sha256) are in `held_out` or in `train` is never taken. Reads the pool once, and hashes only files of equal size.
    Raises FindingsError if media of `held_out` or `train` cannot be read: then nothing could be promised.
    """
    weak = rank_slices(gaps_parquet)
    wanted: dict[SliceKey, list[tuple[int, dict[str, object]]]] = {key: [] for key in weak}
    run = _Selection(pool, _Known.of(held_out=held_out, train=train), limit)
    num_other = 0
    for row, _, _, record in iter_array(pool.annotation):
        if not isinstance(record, dict):
            run.exclude(row, {}, "not-object")
        elif (key := _slice_of(record)) in wanted:
            wanted[key].append((row, record))
        else:
            num_other += 1
    taken: dict[SliceKey, int] = {}
    for key, candidates in wanted.items():
        random.Random(f"{seed}/{key}").shuffle(candidates)
        before = len(run.taken)
        for row, record in candidates:
            run.offer(row, record)
        taken[key] = len(run.taken) - before
    return Mined(
        gaps=gaps_parquet,
        pool=pool,
        held_out=tuple(held_out),
        limit=limit,
        seed=seed,
        records=tuple(run.taken),
        taken_by_slice=taken,
        exclusions=tuple(run.exclusions),
        num_other_slices=num_other,
    )


def rank_slices(gaps_parquet: Path) -> tuple[SliceKey, ...]:
    """Slices of a gaps.parquet, most failures first, then by name."""
    counts = Counter(
        (normalise_text(without_tags(gap.question)), normalise_text(gap.ground_truth))
        for gap in read_gaps(gaps_parquet)
    )
    return tuple(sorted(counts, key=lambda key: (-counts[key], key)))


def sha256_of(path: str | Path) -> str:
    """Content hash of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def media_files(source: AnnotationSet) -> Iterator[tuple[int, str, str | None]]:
    """Yield (record, path as written, absolute path or None if it leads out of the root) of every medium."""
    for row, _, _, record in iter_array(source.annotation):
        _, names = (media_of(record) if isinstance(record, dict) else None) or ("", [])
        yield from ((row, name, inside(source.media_root, name)) for name in names)


@dataclass(slots=True)
class _Known:
    """Files that must not be mined, by size; hashed when a candidate of that size turns up."""

    by_size: dict[int, list[tuple[str, Reason]]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, *, held_out: Sequence[AnnotationSet], train: AnnotationSet) -> _Known:
        known = cls()
        findings: list[Finding] = []
        sets: list[tuple[AnnotationSet, Reason]] = [*((each, "held-out") for each in held_out), (train, "in-train")]
        for source, reason in sets:
            faults = Collector(where=reason, file=str(source.annotation))
            known._enter(source, reason, faults)
            findings.extend(faults.findings())
        if findings:
            raise FindingsError(findings)
        return known

    def _enter(self, source: AnnotationSet, reason: Reason, faults: Collector) -> None:
        done: set[str] = set()
        for row, name, path in media_files(source):
            if path is None or not os.path.isfile(path):  # noqa: PTH113  takes any text; Path.is_file() raises on some
                saw = f"{quote(name)} is not a file in {source.media_root}"
                faults.add(UNREADABLE, saw, "every medium, to compare contents with", at=At(row))
            elif path not in done:
                done.add(path)
                self.by_size.setdefault(Path(path).stat().st_size, []).append((path, reason))

    def find(self, path: str, sha256: str) -> tuple[str, Reason] | None:
        """Return the first known file of this content; held-out ones come first."""
        same_size = self.by_size.get(Path(path).stat().st_size, ())
        return next(((other, reason) for other, reason in same_size if self._hash(other) == sha256), None)

    def _hash(self, path: str) -> str:
        if path not in self.hashes:
            self.hashes[path] = sha256_of(path)
        return self.hashes[path]


class _Selection:
    """Takes candidates in the order they are offered."""

    def __init__(self, pool: AnnotationSet, known: _Known, limit: int | None) -> None:
        self.pool, self.known, self.limit = pool, known, limit
        self.taken: list[MinedRecord] = []
        self.exclusions: list[Exclusion] = []
        self._first: dict[tuple[tuple[str, ...], SliceKey], str] = {}

    def exclude(self, row: int, record: Mapping[str, object], reason: Reason, like: str | None = None) -> None:
        self.exclusions.append(Exclusion(record=row, id=id_of(record), reason=reason, like=like))

    def offer(self, row: int, record: dict[str, object]) -> None:
        """Take the record, or note why not."""
        if self.limit is not None and len(self.taken) >= self.limit:
            self.exclude(row, record, "over-limit")
            return
        _, names = media_of(record) or ("", [])
        paths = [inside(self.pool.media_root, name) for name in names]
        files = [path for path in paths if path is not None]
        if not names or len(files) < len(paths):
            self.exclude(row, record, "media-outside" if names else "no-media")
            return
        if not all(os.path.isfile(path) for path in files):  # noqa: PTH113  as above
            self.exclude(row, record, "media-missing")
            return
        hashes = tuple(sha256_of(path) for path in files)
        for path, sha256 in zip(files, hashes, strict=True):
            if found := self.known.find(path, sha256):
                self.exclude(row, record, found[1], like=found[0])
                return
        content = (hashes, _slice_of(record))
        if content in self._first:
            self.exclude(row, record, "duplicate-in-pool", like=self._first[content])
            return
        self._first[content] = files[0]
        self.taken.append(MinedRecord(row, record, hashes))


def _slice_of(record: dict[str, object]) -> SliceKey:
    return normalise_text(question_of(record)), normalise_text(truth_of(record))
