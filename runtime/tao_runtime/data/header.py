"""Read the header of one media file, in this process or as a child that reads one after another.

As a child: requests as JSON lines on stdin ([[path, kind], ...]), one JSON line for each file on stdout. It imports
little, since each child does so anew; a library that hangs or crashes on a file takes the child with it, nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from typing import Final

import av
import av.error
from PIL import Image

GRACE_S: Final = 5  # after the time limit, in case the parent is gone and nobody ends this process

# fault ('': none), what was seen, then (width, height, num_frames, fps, codec, size_bytes, byte where frames end,
# time of change in ns)
Answer = tuple[str, str, tuple[int, int, int, float, str, int, int, int] | None]


def read_header(path: str, kind: str) -> Answer:
    """Open a file and read its header. Faults: empty, unreadable."""
    try:
        seen = os.stat(path)  # noqa: PTH116 - a Path for each of 200,000 files costs more than the call
        if not stat.S_ISREG(seen.st_mode):  # opening a pipe or a device may wait for ever
            return "unreadable", "not a regular file", None
        if not seen.st_size:
            return "empty", "0 bytes", None
        values = _video(path, seen.st_size) if kind == "video" else _image(path, seen.st_size)
        return "", "", (*values, seen.st_mtime_ns)
    except (av.error.FFmpegError, OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        return "unreadable", _reason(error), None


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return (text.splitlines() or [type(error).__name__])[0].split(": '/")[0]


def _video(path: str, size: int) -> tuple[int, int, int, float, str, int, int]:
    """Return the header; the byte at which the last indexed frame ends is 0 where the container has no index."""
    with av.open(path, metadata_errors="ignore") as container:
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
        context = stream.codec_context
        if context is None:
            raise ValueError("there is no decoder for its codec on this machine")
        return context.width, context.height, frames, rate, context.name, size, end


def _image(path: str, size: int) -> tuple[int, int, int, float, str, int, int]:
    with Image.open(path) as image:
        width, height = image.size
        codec = (image.format or "").lower()
        image.verify()  # reads the checks of the container, for instance of each PNG chunk; decodes no pixels
    return width, height, 1, 0.0, codec, size, 0


def main(limit_s: float) -> None:
    """Say that the libraries are there, then answer. What they print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print(file=answers, flush=True)
    for line in sys.stdin:
        for path, kind in json.loads(line):
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, limit_s + GRACE_S)
            print(json.dumps(read_header(path, kind)), file=answers, flush=True)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)  # waiting for the next request has no limit


if __name__ == "__main__":
    main(float(sys.argv[1]))
