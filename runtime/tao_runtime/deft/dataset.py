"""The next data set: the old training records plus the mined ones, and a manifest of where all of it came from."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Literal

from pydantic import Field

from tao_runtime.data.annotations import ANNOTATION_NAME
from tao_runtime.data.fold import At, Collector, RuleInfo, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.paths import make_folder
from tao_runtime.deft.mine import Exclusion, Mined, sha256_of
from tao_runtime.deft.records import AnnotationSet, id_of, inside, media_of
from tao_runtime.errors import FindingsError, Frozen, InputError

MANIFEST_NAME = "manifest.json"

_SOURCE = "every path of the new annotation file must lead to the file that the old one meant"
NOT_OBJECT = RuleInfo("deft/record-not-object", "error", "Every training record is an object.", _SOURCE)
OUTSIDE = RuleInfo("deft/media-outside", "error", "Media lie inside the media root of the new data set.", _SOURCE)


class Parent(Frozen):
    """A file that went in."""

    path: str
    sha256: str


class SliceCount(Frozen):
    """Records mined for one slice."""

    question: str
    ground_truth: str
    mined: int


class Manifest(Frozen):
    """What a data set was made of."""

    schema_version: Literal["tao-run/dataset-manifest/1"] = Field(default="tao-run/dataset-manifest/1", alias="schema")
    annotations: Parent
    media_root: str | None = Field(description="root that media paths are relative to; null: they are absolute")
    parents: dict[str, tuple[Parent, ...]] = Field(description="train, pool, held_out and gaps")
    limit: int | None
    seed: int
    counts: dict[str, int] = Field(
        description="train, mined, total, other_slices, and pool records left out, by reason"
    )
    slices: tuple[SliceCount, ...]
    mined: tuple[dict[str, str | int | tuple[str, ...]], ...] = Field(
        description="pool record, new id, sha256 of media"
    )
    exclusions: tuple[Exclusion, ...]


def merge(train: AnnotationSet, *, mined: Mined, out_dir: Path, media_root: Path | None = None) -> Manifest:
    """Write `annotations.json` and `manifest.json` into `out_dir`; the sources stay as they are.

    Media paths become relative to `media_root`, or absolute where it is None. All other fields are kept. A mined record
    whose id is taken gets a new one. Raises FindingsError, and writes nothing, if media lie outside `media_root`.
    """
    target = out_dir / ANNOTATION_NAME
    sources = {"train": (train,), "pool": (mined.pool,), "held_out": mined.held_out}
    if any(_same(target, source.annotation) for each in sources.values() for source in each):
        raise InputError(f"{target}: is one of the sources; want a new directory")
    parents = {name: tuple(_parent(source.annotation) for source in each) for name, each in sources.items()}
    make_folder(out_dir)
    temporary = target.with_name(f".{ANNOTATION_NAME}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            writing = _Merge(file, media_root)
            writing.add_train(train)
            added = tuple(writing.add_mined(mined))
            writing.finish()
        digest = sha256_of(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    reasons = Counter(str(exclusion.reason) for exclusion in mined.exclusions)
    total = {"train": writing.num_records - len(added), "mined": len(added), "total": writing.num_records}
    manifest = Manifest(
        annotations=Parent(path=str(target.absolute()), sha256=digest),
        media_root=str(media_root.absolute()) if media_root else None,
        parents={**parents, "gaps": (_parent(mined.gaps),)},
        limit=mined.limit,
        seed=mined.seed,
        counts={**total, "other_slices": mined.num_other_slices, **reasons},
        slices=tuple(SliceCount(question=q, ground_truth=gt, mined=n) for (q, gt), n in mined.taken_by_slice.items()),
        mined=added,
        exclusions=mined.exclusions,
    )
    _write(out_dir / MANIFEST_NAME, manifest.model_dump_json(by_alias=True, indent=2) + "\n")
    return manifest


class _Merge:
    """Streams records into the new annotation file."""

    def __init__(self, file: IO[str], media_root: Path | None) -> None:
        self.num_records = 0
        self._file, self._root = file, media_root
        self._ids: set[str] = set()
        self._file.write("[")

    def add_train(self, train: AnnotationSet) -> None:
        faults = Collector(where="train", file=str(train.annotation))
        for row, _, _, record in iter_array(train.annotation):
            if not isinstance(record, dict):
                faults.add(NOT_OBJECT, quote(record), "an object", at=At(row))
                continue
            if (key := id_of(record)) is not None:
                self._ids.add(key)
            self._add(self._rewrite(row, record, train, faults))
        if findings := faults.findings():
            raise FindingsError(findings)

    def add_mined(self, mined: Mined) -> Iterator[dict[str, str | int | tuple[str, ...]]]:
        faults = Collector(where="pool", file=str(mined.pool.annotation))
        for each in mined.records:
            record = self._rewrite(each.row, each.record, mined.pool, faults)
            key = self._new_id(id_of(record) or f"record-{each.row}")
            self._add({**record, "id": key})
            yield {"record": each.row, "id": key, "sha256": each.sha256}
        if findings := faults.findings():
            raise FindingsError(findings)

    def finish(self) -> None:
        self._file.write("\n]\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _add(self, record: Mapping[str, object]) -> None:
        self._file.write(",\n" if self.num_records else "\n")
        self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False))
        self.num_records += 1

    def _new_id(self, wanted: str) -> str:
        key, number = wanted, 1
        while key in self._ids:
            number += 1
            key = f"{wanted}-mined" if number == 2 else f"{wanted}-mined-{number}"
        self._ids.add(key)
        return key

    def _rewrite(
        self, row: int, record: Mapping[str, object], source: AnnotationSet, faults: Collector
    ) -> Mapping[str, object]:
        """Return the record with media paths that hold for the new file. A record without media is kept as it is."""
        media = media_of(record)
        if media is None:
            return record
        key, names = media
        paths = []
        for name in names:
            path = inside(source.media_root, name)
            if path is None or (self._root is not None and inside(self._root, path) is None):
                root = source.media_root if path is None else self._root
                faults.add(OUTSIDE, f"{quote(name)} leads out of {root}", "media inside it", at=At(row, f"/{key}"))
                continue
            paths.append(path if self._root is None else os.path.relpath(path, self._root))
        return {**record, key: paths if isinstance(record[key], list) else "".join(paths)}


def _parent(path: Path) -> Parent:
    return Parent(path=str(path.absolute()), sha256=sha256_of(path))


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
