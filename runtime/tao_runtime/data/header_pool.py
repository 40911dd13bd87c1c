"""Headers of many files, read in child processes over all cores; a file that hangs or crashes one costs only itself."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Final

from tao_runtime.data.child import Child, end_text

if TYPE_CHECKING:  # its libraries are for the children
    from tao_runtime.data.header import Answer

LIMIT_S: Final = 20.0  # for one header: a cold network disk takes seconds, a header takes 1 ms
BATCH: Final = 64  # files of one request
ALONE: Final = 128  # files for which one child is enough: starting another takes longer than reading them

Job = tuple[int, str, str]  # number, path, kind


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_headers(
    jobs: Sequence[Job], *, limit_s: float = LIMIT_S, workers: int | None = None
) -> Generator[tuple[int, Answer], None, None]:
    """Yield (number, answer) as they come, over `workers` processes. Further faults: timeout, crash.

    Raises OSError if no process can be started. Close the generator to stop early.
    """
    if not jobs:
        return
    count = 1 if len(jobs) <= ALONE else workers or num_cores()
    batches, lock = iter([jobs[at : at + BATCH] for at in range(0, len(jobs), BATCH)]), threading.Lock()
    done: queue.SimpleQueue[list[tuple[int, Answer]] | OSError | None] = queue.SimpleQueue()
    children = [Child("tao_runtime.data.header", limit_s) for _ in range(count)]

    def serve(child: Child) -> None:
        try:
            while True:
                with lock:
                    batch = next(batches, None)
                if batch is None:
                    return done.put(None)
                done.put(_read_batch(child, batch))
        except OSError as error:
            return done.put(error)

    for child in children:
        threading.Thread(target=serve, args=(child,), daemon=True).start()
    try:
        working = count
        while working:
            found = done.get()
            if isinstance(found, OSError):
                raise found
            if found is None:
                working -= 1
            else:
                yield from found
    finally:
        with lock:
            batches = iter(())
        for child in children:
            child.stop()


def _read_batch(child: Child, batch: Sequence[Job]) -> list[tuple[int, Answer]]:
    """Ask for a batch; after a file that ends the child, ask another for the rest."""
    found: list[tuple[int, Answer]] = []
    while len(found) < len(batch):
        left = batch[len(found) :]
        try:
            child.ask([[path, kind] for _, path, kind in left])
        except BrokenPipeError:
            found.append((left[0][0], ("crash", f"the reader's process ended ({end_text(child.stop())})", None)))
            continue
        for number, *_ in left:
            line = child.answer()
            if line:
                found.append((number, _answer(line)))
                continue
            fault = "crash" if line is not None else "timeout"
            how = end_text(child.stop())
            text = f"the reader's process ended ({how})" if line is not None else f"not read after {child.limit_s:g} s"
            found.append((number, (fault, text, None)))
            break
    return found


def _answer(line: bytes) -> Answer:
    fault, text, values = json.loads(line)
    return fault, text, tuple(values) if values else None
