"""Verdicts of decoding, remembered by path, size, time, frames and decoder: a second scan opens nothing."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Final

from tao_runtime.data.decode_pool import Job, Verdict
from tao_runtime.data.media import cache_path

LASTING: Final = ("", "undecodable", "frames-missing")  # a file that hung or crashed is tried again


def decode_cache_path() -> Path:
    """Where verdicts are remembered: beside the headers."""
    return cache_path().with_name("decoded.sqlite")


@lru_cache
def _decoder() -> str:
    """The decoder's version, which is not worth importing it."""
    return metadata.version("av")


def _identity(job: Job) -> tuple[str, int, int, str] | None:
    """Return what a verdict depends on, None where the file is gone."""
    try:
        stat = os.stat(job.path)  # noqa: PTH116 - one call per file of 200,000
    except OSError:
        return None
    frames = f"{_decoder()} {job.kind} {job.fps!r} {job.indices}"
    return job.path, stat.st_size, stat.st_mtime_ns, hashlib.blake2b(frames.encode(), digest_size=12).hexdigest()


class Memory:
    """Verdicts in SQLite. A memory only: if it fails, files are decoded again."""

    def __init__(self, database: sqlite3.Connection | None) -> None:
        self.database = database

    def get(self, job: Job) -> Verdict | None:
        key = _identity(job) if self.database is not None else None
        if self.database is None or key is None:
            return None
        try:
            row = self.database.execute(
                "SELECT fault, text, drift FROM decoded WHERE path=? AND size=? AND mtime=? AND frames=?", key
            ).fetchone()
        except (sqlite3.Error, UnicodeEncodeError):
            return None
        return Verdict(*row) if row else None

    def put(self, seen: Sequence[tuple[Job, Verdict]]) -> None:
        if self.database is None:
            return
        kept = ((key, verdict) for job, verdict in seen if verdict.fault in LASTING and (key := _identity(job)))
        rows = [(*key, verdict.fault, verdict.text, verdict.drift_s) for key, verdict in kept]
        try:
            with self.database:
                self.database.executemany("INSERT OR REPLACE INTO decoded VALUES (?,?,?,?,?,?,?)", rows)
        except (sqlite3.Error, UnicodeEncodeError):
            return  # a full or locked cache costs time on the next run, nothing else


@contextmanager
def remembered(cache: Path | None) -> Iterator[Memory]:
    """Open the memory; one that cannot be opened remembers nothing."""
    if cache is None:
        yield Memory(None)
        return
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(cache, timeout=5)
        database.execute(
            "CREATE TABLE IF NOT EXISTS decoded (path TEXT, size INT, mtime INT, frames TEXT, fault TEXT, text TEXT,"
            " drift REAL, PRIMARY KEY (path, frames))"
        )
    except (sqlite3.Error, OSError):
        yield Memory(None)
        return
    with closing(database):
        yield Memory(database)
