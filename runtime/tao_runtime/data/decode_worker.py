"""A child process that decodes one file after another: jobs as JSON lines on stdin, verdicts as JSON lines on stdout.

A decoder that hangs or crashes takes this process with it, and nothing else.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tao_runtime.data.decode import DecodeError, MissingFrameError, decode_image, frame_times_s, iter_frames

GRACE_S: Final = 5  # after the time limit, in case the parent is gone and nobody ends this process


def look(path: str, kind: str, indices: Sequence[int], fps: float) -> dict[str, object]:
    """Decode the frames of one file. Returns {fault, text, drift_s}; no fault is ''.

    drift_s: how far the time of a sampled frame is from index / fps, which is what the model is told.
    """
    try:
        if kind == "image":
            decode_image(Path(path))
            return {"fault": "", "text": "", "drift_s": 0.0}
        for _ in iter_frames(Path(path), indices):
            pass  # one frame at a time: a long clip would fill the memory
        times = frame_times_s(Path(path))
    except MissingFrameError as error:
        return {"fault": "frames-missing", "text": _without(path, error), "drift_s": 0.0}
    except (DecodeError, MemoryError) as error:
        return {"fault": "undecodable", "text": _without(path, error), "drift_s": 0.0}
    drift = max((abs(times[index] - index / fps) for index in indices if index < len(times)), default=0.0)
    return {"fault": "", "text": "", "drift_s": drift}


def _without(path: str, error: BaseException) -> str:
    return str(error).removeprefix(f"{path}: ") or type(error).__name__


def main(limit_s: float) -> None:
    """Say that the libraries are there, then answer each line of stdin with one line. What they print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print(file=answers, flush=True)
    for line in sys.stdin:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, limit_s + GRACE_S)
        print(json.dumps(look(*json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
