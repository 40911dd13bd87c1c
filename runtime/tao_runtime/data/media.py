"""What the headers of media files say: opened, never decoded; remembered between runs by path, size and time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import av
import av.error
from PIL import Image

from tao_runtime.data.facts import MediaHeader, MediaKind
from tao_runtime.data.fold import RuleInfo, declare
from tao_runtime.errors import Finding

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


def cache_path() -> Path:
    """Where headers are remembered: the user's cache directory."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "tao-run" / "headers.sqlite"


def probe_header(path: Path, kind: MediaKind, *, where: str = "media") -> MediaHeader | Finding:
    """Open one file and read its header; what is wrong with it comes back as a finding on the spec key `where`."""

    def refuse(rule: RuleInfo, saw: str, want: str) -> Finding:
        return Finding(rule=rule.name, severity=rule.severity, where=where, file=str(path), saw=saw, want=want)

    noun = "a video" if kind == "video" else "an image"
    try:
        size = path.stat().st_size
        if not size:
            return refuse(EMPTY, "0 bytes", f"{noun} file")
        header, end = _video(path, size) if kind == "video" else (_image(path, size), 0)
    except (av.error.FFmpegError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return refuse(UNREADABLE, f"not readable as {noun}: {_reason(error)}", f"{noun} that opens")
    if end > size:
        return refuse(TRUNCATED, f"{size} bytes, and frames up to byte {end}", "the whole file")
    if header.num_frames < 1 or (kind == "video" and header.fps <= 0) or header.width < 1 or header.height < 1:
        saw = f"{header.num_frames} frames of {header.width}x{header.height} at {header.fps:g} per second"
        return refuse(NO_FRAMES, saw, "at least one frame, and a frame rate")
    if max(header.width, header.height) > MAX_ASPECT * min(header.width, header.height):
        return refuse(ASPECT, f"{header.width}x{header.height}", f"sides within {MAX_ASPECT}:1")
    return header


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return (text.splitlines() or [type(error).__name__])[0].split(": '/")[0]


def _video(path: Path, size: int) -> tuple[MediaHeader, int]:
    """Return the header, and the byte at which the last indexed frame ends (0: the container has no index)."""
    with av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.video:
            raise ValueError("it has no video stream")
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        frames = stream.frames
        if not frames and stream.duration and stream.time_base:
            frames = round(float(stream.duration * stream.time_base) * rate)
        if not frames:  # a raw stream says neither: count packets, still without decoding
            frames = sum(1 for packet in container.demux(stream) if packet.size)
        entries = stream.index_entries
        end = max((one.pos + one.size for one in (entries[0], entries[-1])), default=0) if len(entries) else 0
        width, height, codec = stream.codec_context.width, stream.codec_context.height, stream.codec_context.name
    return MediaHeader(path, "video", width, height, frames, rate, codec, size), end


def _image(path: Path, size: int) -> MediaHeader:
    with Image.open(path) as image:
        width, height = image.size
        codec = (image.format or "").lower()
        image.verify()  # reads the checks of the container, for instance of each PNG chunk; decodes no pixels
    return MediaHeader(path, "image", width, height, 1, 0.0, codec, size)


def probe_media(
    files: Sequence[tuple[str, MediaKind]],
    *,
    where: str = "media",
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[MediaHeader | Finding, ...]:
    """Probe files in order, over threads; `cache` is a file that remembers good headers (None: no memory)."""
    with _remembered(cache) as store, ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) * 2)) as pool:
        known = [store.get(path, kind) for path, kind in files]
        todo = [(number, *files[number]) for number, header in enumerate(known) if header is None]
        results: list[MediaHeader | Finding | None] = list(known)
        fresh = pool.map(lambda job: probe_header(Path(job[1]), job[2], where=where), todo)
        for done, ((number, *_), probed) in enumerate(zip(todo, fresh, strict=True)):
            results[number] = probed
            if progress is not None:
                progress(done + 1)
        store.put([result for number, *_ in todo if isinstance(result := results[number], MediaHeader)])
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
        return MediaHeader(Path(path), kind, width, height, frames, fps, codec, stat.st_size)

    def put(self, headers: Sequence[MediaHeader]) -> None:
        if self.database is None or not headers:
            return
        rows = [
            (
                str(one.path),
                one.kind,
                one.size_bytes,
                one.path.stat().st_mtime_ns,
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
