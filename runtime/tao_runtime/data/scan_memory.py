"""Scans of large annotation files, remembered: what `check` looked at is not looked at again by `train`.

A scan is good as long as the annotation file, every medium it names and this package's own code are as they were, by
size and time of change. A memory only: what cannot be read, or written, is scanned again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from tao_runtime.data.facts import DatasetFacts, MediaHeader, RecordColumns
from tao_runtime.data.source_video import Cut
from tao_runtime.errors import Finding
from tao_runtime.spec.base import DatasetRef

MIN_RECORDS: Final = 2_000  # fewer are scanned faster than it is worth to remember
MAX_KEPT: Final = 16  # scans; the oldest go
RACY_S: Final = 2.0  # a file that changed so lately may change again within one tick of its clock
_CODE: Final = Path(__file__).parents[1]


def recall(ref: DatasetRef, annotation: Path, root: Path, folder: Path) -> DatasetFacts | None:
    """Return the facts of an earlier scan of the very same files; None if there is none."""
    path = folder / f"{_key(ref, annotation, root)}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            told = json.loads(bytes(stored["told"]))
            columns = RecordColumns(**{one.name: stored[one.name] for one in fields(RecordColumns)})
        if told["witness"] != _witness(annotation, told["files"]):
            return None
        return DatasetFacts(
            ref.label,
            annotation,
            root,
            told["sha256"],
            columns,
            tuple(None if row is None else MediaHeader(Path(row[0]), *row[1:]) for row in told["media"]),
            tuple(Finding.model_validate(each) for each in told["findings"]),
            cuts={int(record): Cut(**cut) for record, cut in told["cuts"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):
        return None


def remember(ref: DatasetRef, facts: DatasetFacts, files: Sequence[str], folder: Path) -> None:
    """Keep what a scan of conversations gave; `files` are all media that it named."""
    if len(facts.columns) < MIN_RECORDS or time.time() - facts.annotation.stat().st_mtime < RACY_S:
        return
    told: Mapping[str, Any] = {
        "witness": _witness(facts.annotation, files),
        "files": list(files),
        "sha256": facts.sha256,
        "media": [
            None if one is None else [str(one.path), *(getattr(one, each.name) for each in fields(one)[1:])]
            for one in facts.media
        ],
        "findings": [finding.model_dump(mode="json") for finding in facts.findings],
        "cuts": {str(record): asdict(cut) for record, cut in facts.cuts.items()},
    }
    arrays = {each.name: getattr(facts.columns, each.name) for each in fields(RecordColumns)}
    path = folder / f"{_key(ref, facts.annotation, facts.media_root)}.npz"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, told=np.frombuffer(json.dumps(told).encode(), np.uint8), **arrays)
        temporary.replace(path)
        for old in sorted(folder.glob("*.npz"), key=lambda each: each.stat().st_mtime)[:-MAX_KEPT]:
            old.unlink()
    except OSError:
        temporary.unlink(missing_ok=True)


def _key(ref: DatasetRef, annotation: Path, root: Path) -> str:
    parts = [str(annotation.absolute()), str(root.absolute()), Path.cwd(), asdict(ref), _code()]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


def _code() -> str:
    """Return a digest of the modules that scan: other rules find other things."""
    digest = hashlib.sha256()
    for floor in ("data", "spec"):
        for path in sorted((_CODE / floor).rglob("*.py")):
            stat = path.stat()
            digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _witness(annotation: Path, files: Sequence[str]) -> str:
    """Return a digest of size and time of change of the annotation file and of every medium; absent ones count too."""
    digest = hashlib.sha256()
    for path in (str(annotation), *files):
        try:
            stat = os.stat(path)  # noqa: PTH116 - one call per file of 200,000
            digest.update(b"%d %d\n" % (stat.st_size, stat.st_mtime_ns))
        except (OSError, ValueError):
            digest.update(b"absent\n")
    return digest.hexdigest()
