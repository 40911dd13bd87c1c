"""Decoding in child processes with a hard time limit for each file; one that hangs or crashes costs only itself."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from tao_runtime.data.child import Child, end_text
from tao_runtime.data.facts import MediaKind


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


class _Child(Child):
    """A process that decodes."""

    def look(self, job: Job) -> Verdict:
        try:
            self.ask([job.path, job.kind, job.indices, job.fps])
            answer = self.answer()
        except BrokenPipeError:
            answer = b""
        if answer is None:
            self.stop()
            return Verdict("decode-timeout", f"not decoded after {self.limit_s:g} s")
        if not answer:
            return Verdict("decoder-crash", f"the decoder's process ended ({end_text(self.stop())})")
        return Verdict(**json.loads(answer))


def decode_jobs(jobs: Sequence[Job], *, limit_s: float, workers: int) -> Generator[tuple[Job, Verdict], None, None]:
    """Yield jobs with their verdicts as they come, over `workers` processes; none is left behind.

    Raises OSError if no process can be started. Close the generator to stop early.
    """
    waiting, lock = iter(jobs), threading.Lock()
    done: queue.SimpleQueue[tuple[Job, Verdict] | OSError | None] = queue.SimpleQueue()
    children = [_Child("tao_runtime.data.decode_worker", limit_s) for _ in range(max(1, min(workers, len(jobs))))]

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
