"""The watchdog of a rank: says what it does, looks at the others, and ends a run that hangs, naming who and where.

A thread that hangs inside a decoder cannot be killed from within its process: the process ends, after naming the file.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType

from tao_runtime.engine.heartbeat import DIRECTORY, Beat, Hang, Listener, find_hangs, find_slow, write_beat
from tao_runtime.engine.run_dir import RunLog
from tao_runtime.errors import ExitCode

HANG_S = 600.0
BEAT_S = 5.0
WINDOW_S = 60.0
PACKAGE = str(Path(__file__).parents[1])
DEPTH = 12  # innermost frames of a stack


class Watchdog:
    """Watches one rank, and through the heartbeat files the others. A context: it watches while that lasts."""

    def __init__(
        self, run_dir: Path, *, rank: int = 0, size: int = 1, launch: str = "", hang_s: float = HANG_S
    ) -> None:
        self.run_dir, self.rank, self.size, self.launch, self.hang_s = run_dir, rank, size, launch, hang_s
        self.beat_s = min(BEAT_S, hang_s / 5)
        self._phase, self._marks, self._number = "load", 0, 0
        self.step = 0  # optimizer steps done
        self._since = self._alive = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._progress: list[Callable[[], object]] = []
        self._seen: list[object] = []
        self._end = threading.Event()
        self._window: tuple[float, tuple[Beat, ...]] | None = None

    def mark(self, phase: str) -> None:
        """Say what this rank does from now on."""
        now = time.monotonic()
        self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since, self._alive = phase, now, now
        self._marks += 1

    def observe(self, progress: Callable[[], object]) -> None:
        """Take a change of what `progress` returns for a sign of life: samples loaded in a long validation."""
        self._progress.append(progress)

    def __enter__(self) -> Watchdog:
        (self.run_dir / DIRECTORY).mkdir(parents=True, exist_ok=True)
        # The interpreter's own timer needs no lock of it: it dumps the stacks even where a decoder keeps that lock.
        self._stacks = (self.run_dir / DIRECTORY / f"rank-{self.rank}.stack").open("w")
        self._listener = Listener(self.run_dir, self.launch, self.size)
        self._beat()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.mark("done")
            self._beat()
        self._end.set()
        faulthandler.cancel_dump_traceback_later()
        self._stacks.close()
        if Path(self._stacks.name).stat().st_size == 0:
            Path(self._stacks.name).unlink()

    def _watch(self) -> None:
        log = RunLog(self.run_dir, is_main=True)
        while not self._end.wait(self.beat_s):
            self._beat()
            heard = self._listener.hear()
            hangs = find_hangs(heard, self.hang_s)
            if hangs and not self._end.is_set():
                self._end_run(log, hangs)
            if self.rank == 0 and self.size > 1:
                self._report_slow(log, tuple(beat for beat, _ in heard.values()))

    def _beat(self) -> None:
        now = time.monotonic()
        seen = [progress() for progress in self._progress]
        if seen != self._seen:
            self._seen, self._alive = seen, now
        quiet = now - self._alive
        self._number += 1
        beat = Beat(
            self.rank,
            os.getpid(),
            os.getppid(),
            socket.gethostname(),
            self.launch,
            self._number,
            phase=self._phase,
            step=self.step,
            marks=self._marks,
            quiet_s=quiet,
            files=tuple(files_in_hand()),
            stack=tuple(stacks()) if quiet > self.hang_s / 2 else (),
            seconds={**self._seconds, self._phase: self._seconds.get(self._phase, 0.0) + now - self._since},
        )
        write_beat(self.run_dir, beat)
        faulthandler.dump_traceback_later(self.hang_s, file=self._stacks)

    def _end_run(self, log: RunLog, hangs: list[Hang]) -> None:
        """Name who hangs and end this process; the launcher ends the others. The first rank that can, speaks."""
        silent = {hang.beat.rank for hang in hangs if hang.silent}
        if self.rank == min(set(range(self.size)) - silent):
            for hang in hangs:
                beat = hang.beat
                log.status(
                    "hang",
                    rank=beat.rank,
                    phase=beat.phase,
                    step=beat.step,
                    seconds=round(hang.seconds, 1),
                    silent=hang.silent,
                    files=list(beat.files),
                    stack=list(beat.stack),
                )
                print(hang.sentence(), file=sys.stderr, flush=True)
            log.status("failed", rank=hangs[0].beat.rank, reason=hangs[0].sentence())
            for hang in hangs:
                _kill_sibling(hang)
        else:
            time.sleep(3 * self.beat_s)
        os._exit(int(ExitCode.FAILED))

    def _report_slow(self, log: RunLog, beats: tuple[Beat, ...]) -> None:
        now = time.monotonic()
        if self._window is None:
            self._window = (now, beats)
        begin, before = self._window
        if now - begin < WINDOW_S:
            return
        for slow in find_slow(before, beats, now - begin):
            log.status("slow-rank", **asdict(slow), window_s=round(now - begin, 1))
        self._window = (now, beats)


@contextmanager
def watched(run_dir: Path, *, rank: int, size: int, launch: str) -> Iterator[Watchdog]:
    """Watch a rank while the context lasts. TAO_RUN_HANG_S: seconds without progress that are a hang."""
    hang_s = float(os.environ.get("TAO_RUN_HANG_S", HANG_S))
    with Watchdog(run_dir, rank=rank, size=size, launch=launch, hang_s=hang_s) as watchdog:
        yield watchdog


def _kill_sibling(hang: Hang) -> None:
    """End a rank that cannot end itself: a stopped process hears nothing but SIGKILL. Only our own launcher's child."""
    beat = hang.beat
    if not hang.silent or beat.host != socket.gethostname() or not beat.pid:
        return
    try:
        parent = int(Path(f"/proc/{beat.pid}/stat").read_text().rpartition(")")[2].split()[1])
        if parent == os.getppid() == beat.parent:
            os.kill(beat.pid, signal.SIGKILL)
    except (OSError, ValueError):
        return  # it is gone


def files_in_hand() -> list[str]:
    """Return the files that threads of this process are reading: the innermost `path` of our own code in each."""
    found = []
    for frame in _frames().values():
        inner: FrameType | None = frame
        while inner is not None:
            value = inner.f_locals.get("path") if inner.f_code.co_filename.startswith(PACKAGE) else None
            if isinstance(value, Path):
                found.append(str(value))
                break
            inner = inner.f_back
    return sorted(set(found))


def stacks() -> list[str]:
    """Return the innermost frames of the main thread and of every thread that reads a file, as text."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    lines = []
    for ident, frame in _frames().items():
        summary = traceback.extract_stack(frame)[-DEPTH:]
        lines.append(f"thread {names.get(ident, ident)}")
        lines += [f"  {each.filename}:{each.lineno} {each.name}: {each.line}" for each in summary]
    return lines


def _frames() -> dict[int, FrameType]:
    """Return the innermost frame of every thread but this one."""
    return {ident: frame for ident, frame in sys._current_frames().items() if ident != threading.get_ident()}
