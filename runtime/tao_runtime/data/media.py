"""What the headers of media files say: opened, never decoded; remembered between runs by path, size and time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tao_runtime.data.facts import MediaHeader, MediaKind
from tao_runtime.data.fold import RuleInfo, declare
from tao_runtime.data.header_pool import LIMIT_S, read_headers
from tao_runtime.errors import Finding

if TYPE_CHECKING:
    from tao_runtime.data.header import Answer

KEPT: Final = 1000  # headers written to the cache at a time
MAX_ASPECT: Final = 200  # vision processors refuse more
_DECODE = "the loader opens each medium during the run; a broken one ends it hours in"

UNREADABLE = declare("media/unreadable", "error", "Every medium opens as what the record says it is.", source=_DECODE)
EMPTY = declare("media/empty", "error", "No medium is an empty file.", source=_DECODE)
TRUNCATED = declare("media/truncated", "error", "A video holds all the frames its index lists.", source=_DECODE)
NO_FRAMES = declare("media/no-frames", "error", "A video has frames, and a frame rate.", source=_DECODE)
ASPECT = declare(
    "media/aspect-ratio",
    "error",
    "No side of a picture is more than 200 times the other.",
    source="smart_resize of the image processors",
)
HEADER_TIMEOUT = declare(
    "media/header-timeout",
    "error",
    "A header is read within 20 seconds: no stuck disk, no endless file.",
    source=_DECODE,
)
HEADER_CRASH = declare("media/header-crash", "error", "No file ends the process that reads its header.", source=_DECODE)
FAULTS: Final = {"empty": EMPTY, "unreadable": UNREADABLE, "timeout": HEADER_TIMEOUT, "crash": HEADER_CRASH}


def cache_path() -> Path:
    """Where headers are remembered: the user's cache directory."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tao-run" / "headers.sqlite"


def probe_header(path: Path, kind: MediaKind, *, where: str = "media") -> MediaHeader | Finding:
    """Read the header of one file in this process; what is wrong comes back as a finding on the spec key `where`."""
    from tao_runtime.data.header import read_header  # noqa: PLC0415 - decoders, which a check leaves to its children

    return _judge(str(path), kind, read_header(str(path), kind), where)


def _judge(path: str, kind: MediaKind, answer: Answer, where: str) -> MediaHeader | Finding:
    """Return a header in which nothing is wrong, or what is."""

    def refuse(rule: RuleInfo, saw: str, want: str) -> Finding:
        return Finding(rule=rule.name, severity=rule.severity, where=where, file=path, saw=saw, want=want)

    noun = "a video" if kind == "video" else "an image"
    fault, text, values = answer
    if values is None:
        saw = f"not readable as {noun}: {text}" if fault == "unreadable" else text
        return refuse(FAULTS[fault], saw, f"{noun} file" if fault == "empty" else f"{noun} that opens")
    width, height, num_frames, fps, codec, size, end, changed = values
    if end > size:
        return refuse(TRUNCATED, f"{size} bytes, and frames up to byte {end}", "the whole file")
    if num_frames < 1 or (kind == "video" and fps <= 0) or width < 1 or height < 1:
        saw = f"{num_frames} frames of {width}x{height} at {fps:g} per second"
        return refuse(NO_FRAMES, saw, "at least one frame, and a frame rate")
    if max(width, height) > MAX_ASPECT * min(width, height):
        return refuse(ASPECT, f"{width}x{height}", f"sides within {MAX_ASPECT}:1")
    return MediaHeader(Path(path), kind, width, height, num_frames, fps, codec, size, changed)


def probe_media(
    files: Sequence[tuple[str, MediaKind]],
    *,
    where: str = "media",
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    limit_s: float = LIMIT_S,
) -> tuple[MediaHeader | Finding, ...]:
    """Probe files in child processes; in order. `cache` is a file that remembers good headers (None: no memory)."""
    with _remembered(cache) as store:
        results: list[MediaHeader | Finding | None] = [store.get(path, kind) for path, kind in files]
        todo = [(number, *files[number]) for number, header in enumerate(results) if header is None]
        fresh: list[MediaHeader] = []
        with closing(read_headers(todo, limit_s=limit_s)) as answers:
            for done, (number, answer) in enumerate(answers, 1):
                path, kind = files[number]
                results[number] = probed = _judge(path, kind, answer, where)
                if isinstance(probed, MediaHeader):
                    fresh.append(probed)
                if len(fresh) >= KEPT or done == len(todo):  # an interrupted scan is not lost
                    store.put(fresh)
                    fresh = []
                if progress is not None:
                    progress(done, len(todo))
    return tuple(result for result in results if result is not None)


class _Store:
    """Headers in SQLite, by (path, kind, size, mtime). A memory only: if it fails, files are opened again."""

    def __init__(self, database: sqlite3.Connection | None) -> None:
        self.database = database

    def get(self, path: str, kind: MediaKind) -> MediaHeader | None:
        if self.database is None:
            return None
        try:
            stat = os.stat(path)  # noqa: PTH116 - one call per file of 200,000
            row = self.database.execute(
                "SELECT width, height, frames, fps, codec FROM header WHERE path=? AND kind=? AND size=? AND mtime=?",
                (path, kind, stat.st_size, stat.st_mtime_ns),
            ).fetchone()
        except (sqlite3.Error, OSError, UnicodeEncodeError):
            return None
        if row is None:
            return None
        width, height, frames, fps, codec = row
        return MediaHeader(Path(path), kind, width, height, frames, fps, codec, stat.st_size, stat.st_mtime_ns)

    def put(self, headers: Sequence[MediaHeader]) -> None:
        if self.database is None or not headers:
            return
        rows = [
            (
                str(one.path),
                one.kind,
                one.size_bytes,
                one.mtime_ns,
                one.width,
                one.height,
                one.num_frames,
                one.fps,
                one.codec,
            )
            for one in headers
        ]
        try:
            with self.database:
                self.database.executemany("INSERT OR REPLACE INTO header VALUES (?,?,?,?,?,?,?,?,?)", rows)
        except sqlite3.Error:
            return  # a full or locked cache costs time on the next run, nothing else


@contextmanager
def _remembered(cache: Path | None) -> Iterator[_Store]:
    if cache is None:
        yield _Store(None)
        return
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(cache, timeout=5)
        database.execute(
            "CREATE TABLE IF NOT EXISTS header (path TEXT, kind TEXT, size INT, mtime INT, width INT, height INT,"
            " frames INT, fps REAL, codec TEXT, PRIMARY KEY (path, kind))"
        )
    except (sqlite3.Error, OSError):  # no home, read-only, or a broken file: go without
        yield _Store(None)
        return
    with closing(database):
        yield _Store(database)
