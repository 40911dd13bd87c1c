"""Loading samples ahead of training, on threads; one that hangs is given up, and named."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Generic, TypeVar

from tao_runtime.engine.source import BadSample

Key = TypeVar("Key")  # what is asked for: a position, and what else decides the sample
Item = TypeVar("Item")


class LoaderPool(Generic[Key, Item]):
    """Threads that load samples. Daemons: one that hangs inside a decoder must not keep the process from ending.

    Not an executor of the standard library: that one waits for its threads at exit, and cannot replace one.
    """

    def __init__(self, load: Callable[[Key], Item | BadSample], num_threads: int) -> None:
        self._load = load
        self._tasks: queue.SimpleQueue[tuple[Future[Item | BadSample], Key] | None] = queue.SimpleQueue()
        self._num_threads = 0
        for _ in range(num_threads):
            self.add_thread()

    def add_thread(self) -> None:
        """Start one more thread: at the start, and in place of one that hangs."""
        self._num_threads += 1
        threading.Thread(target=self._work, name=f"decode-{self._num_threads}", daemon=True).start()

    def submit(self, position: Key) -> Future[Item | BadSample]:
        """Load a sample when a thread is free."""
        future: Future[Item | BadSample] = Future()
        self._tasks.put((future, position))
        return future

    def close(self) -> None:
        """Let every thread end after what it does now; what waits is not loaded."""
        while not self._tasks.empty():
            self._tasks.get()
        for _ in range(self._num_threads):
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, position = task
            future.set_running_or_notify_cancel()
            try:
                future.set_result(self._load(position))
            except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
                future.set_exception(error)


def load_ahead(
    load: Callable[[Key], Item | BadSample],
    batches: Iterable[Sequence[Key]],
    *,
    num_threads: int,
    depth: int,
    timeout_s: float | None = None,
    name: Callable[[Key], int],
) -> Iterator[tuple[Sequence[Key], list[Item | BadSample]]]:
    """Yield each batch with its samples, in order; up to `depth` samples load ahead on `num_threads` threads.

    A sample that a thread works on and that is not there `timeout_s` after it is needed is given up: a BadSample, by
    its record, `name(position)`. Without threads nothing can be given up.
    """
    if num_threads == 0:
        for batch in batches:
            yield batch, [load(position) for position in batch]
        return
    pool = LoaderPool(load, num_threads)

    def result(position: Key, future: Future[Item | BadSample]) -> Item | BadSample:
        while True:
            try:
                return future.result(timeout_s)
            except TimeoutError:
                if not future.running():  # it waits for its turn: others are slow, or were given up
                    continue
                pool.add_thread()
                return BadSample(name(position), f"hangs: not loaded {timeout_s:g} s after it was needed")

    waiting: deque[tuple[Sequence[Key], list[Future[Item | BadSample]]]] = deque()
    ahead = 0
    try:
        for batch in batches:
            waiting.append((batch, [pool.submit(position) for position in batch]))
            ahead += len(batch)
            while waiting and ahead - len(waiting[0][0]) >= depth:
                first, futures = waiting.popleft()
                ahead -= len(first)
                yield first, list(map(result, first, futures))
        for first, futures in waiting:
            yield first, list(map(result, first, futures))
    finally:
        pool.close()


def in_background(items: Iterator[Item]) -> Iterator[Item]:
    """Yield what another thread takes from an iterator, one ahead; its error is raised where the item would be."""
    box: queue.Queue[tuple[Item | None, BaseException | None] | None] = queue.Queue(maxsize=1)
    unwanted = threading.Event()

    def put(entry: tuple[Item | None, BaseException | None] | None) -> None:
        while not unwanted.is_set():
            with suppress(queue.Full):
                box.put(entry, timeout=0.2)
                return

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if unwanted.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised where the item is asked for
            put((None, error))

    threading.Thread(target=work, name="collate", daemon=True).start()
    try:
        while (entry := box.get()) is not None:
            item, error = entry
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        unwanted.set()
