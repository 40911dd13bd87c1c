"""Decoding in child processes with a hard time limit for each file; one that hangs or crashes costs only itself."""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tao_runtime
from tao_runtime.data.facts import MediaKind

START_S: Final = 60  # a child may take so long to import its libraries


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be decoded of one file."""

    path: str
    kind: MediaKind
    indices: tuple[int, ...]
    fps: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it."""

    fault: str = ""  # undecodable, frames-missing, decode-timeout, decoder-crash; '': none
    text: str = ""
    drift_s: float = 0.0


class _Child:
    """One process, and the bytes it has answered so far."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.process: subprocess.Popen[bytes] | None = None

    def look(self, job: Job) -> Verdict:
        process = self.process or self._start()
        assert process.stdin and process.stdout
        line = json.dumps([job.path, job.kind, job.indices, job.fps]).encode() + b"\n"
        try:
            process.stdin.write(line)
            process.stdin.flush()
            answer = _read_line(process.stdout.fileno(), self.limit_s)
        except BrokenPipeError:
            answer = b""
        if answer is None:
            self.stop()
            return Verdict("decode-timeout", f"not decoded after {self.limit_s:g} s")
        if not answer:
            code = self.stop()
            why = f"signal {-code}" if code < 0 else f"exit code {code}"
            return Verdict("decoder-crash", f"the decoder's process ended ({why})")
        return Verdict(**json.loads(answer))

    def _start(self) -> subprocess.Popen[bytes]:
        package = str(Path(tao_runtime.__file__).parents[1])
        paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tao_runtime.data.decode_worker", str(self.limit_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        assert self.process.stdout
        if not _read_line(self.process.stdout.fileno(), START_S):
            raise OSError(f"{sys.executable} -m tao_runtime.data.decode_worker does not start (code {self.stop()})")
        return self.process

    def stop(self) -> int:
        """End the process, whatever it is doing; returns its exit code. The next job starts another."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return code


def _read_line(descriptor: int, limit_s: float) -> bytes | None:
    """Return a line, b'' if the other side is gone, None if the time is up."""
    until = time.monotonic() + limit_s
    found = b""
    while not found.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or not select.select([descriptor], [], [], left)[0]:
            return None
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            return b""
        found += piece
    return found


def decode_jobs(jobs: Sequence[Job], *, limit_s: float, workers: int) -> Generator[tuple[Job, Verdict], None, None]:
    """Yield jobs with their verdicts as they come, over `workers` processes; none is left behind.

    Raises OSError if no process can be started. Close the generator to stop early.
    """
    waiting, lock = iter(jobs), threading.Lock()
    done: queue.SimpleQueue[tuple[Job, Verdict] | OSError | None] = queue.SimpleQueue()
    children = [_Child(limit_s) for _ in range(max(1, min(workers, len(jobs))))]

    def serve(child: _Child) -> None:
        while True:
            with lock:
                job = next(waiting, None)
            if job is None:
                done.put(None)
                return
            try:
                done.put((job, child.look(job)))
            except OSError as error:
                done.put(error)
                return

    for child in children:
        threading.Thread(target=serve, args=(child,), daemon=True).start()
    try:
        working = len(children)
        while working:
            found = done.get()
            if isinstance(found, OSError):
                raise found
            if found is None:
                working -= 1
            else:
                yield found
    finally:
        with lock:
            waiting = iter(())
        for child in children:
            child.stop()
