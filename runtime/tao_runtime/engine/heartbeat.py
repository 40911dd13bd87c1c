"""Heartbeats: what each rank does, in a file that the others read; and who of them hangs or is slow. No torch here."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

DIRECTORY = "heartbeat"
# In these a rank waits for no other one.
ALONE = frozenset({"load", "data"})
# These move many bytes between two signs of life; they may take LONG times as long.
LONG_PHASES, LONG = frozenset({"load", "checkpoint", "export"}), 6
SLOW, SLOW_SHARE = 3.0, 0.1  # times the median of the others; share of the window below which nobody minds


@dataclass(frozen=True, slots=True)
class Beat:
    """What a rank says of itself."""

    rank: int
    pid: int
    parent: int
    host: str
    launch: str
    number: int  # of this beat
    phase: str = "load"
    step: int = 0
    marks: int = 0  # phases entered so far: the same sequence on every rank
    quiet_s: float = 0.0  # since it last got on
    files: tuple[str, ...] = ()  # being read
    stack: tuple[str, ...] = ()  # of its threads, once it is quiet for long
    seconds: Mapping[str, float] = field(default_factory=dict)  # spent in each phase so far


def path_of(run_dir: Path, rank: int) -> Path:
    return run_dir / DIRECTORY / f"rank-{rank}.json"


def write_beat(run_dir: Path, beat: Beat) -> None:
    """Write a beat whole or not at all; on a full disk only its time changes, which says that the rank lives."""
    path = path_of(run_dir, beat.rank)
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_text(json.dumps(asdict(beat)))
        temporary.replace(path)
    except OSError:
        if path.exists():
            os.utime(path)


def read_beat(path: Path) -> tuple[Beat, int] | None:
    """Return a beat and when its file changed, None if there is none that can be read."""
    try:
        values = json.loads(path.read_text())
        beat = Beat(**{**values, "files": tuple(values["files"]), "stack": tuple(values["stack"])})
        return beat, path.stat().st_mtime_ns
    except (OSError, ValueError, TypeError, KeyError):
        return None


class Listener:
    """Reads the beats of the other ranks, and knows how long each has been silent, by its own clock."""

    def __init__(self, run_dir: Path, launch: str, size: int) -> None:
        self.run_dir, self.launch, self.size = run_dir, launch, size
        self._heard: dict[int, tuple[object, float]] = {rank: (None, time.monotonic()) for rank in range(size)}
        self._last = {rank: Beat(rank, 0, 0, "", launch, 0) for rank in range(size)}

    def hear(self) -> dict[int, tuple[Beat, float]]:
        """Return the last beat of every rank, and the seconds since it came."""
        now = time.monotonic()
        for rank in range(self.size):
            read = read_beat(path_of(self.run_dir, rank))
            if read is None or read[0].launch != self.launch:  # of an earlier launch
                continue
            beat, changed = read
            if self._heard[rank][0] != (beat.number, changed):
                self._heard[rank], self._last[rank] = ((beat.number, changed), now), beat
        return {rank: (self._last[rank], now - self._heard[rank][1]) for rank in range(self.size)}


@dataclass(frozen=True, slots=True)
class Hang:
    """Who hangs. `silent`: not even its watchdog gets on."""

    beat: Beat
    seconds: float
    silent: bool

    def sentence(self) -> str:
        """Say it to a person."""
        rank, where = self.beat.rank, f"in phase {self.beat.phase} after step {self.beat.step}"
        if self.silent:
            return (
                f"rank {rank} (process {self.beat.pid} on {self.beat.host or 'an unknown host'}) has been silent for "
                f"{self.seconds:.0f} s, last seen {where}. It is stopped, starved, or its machine is gone. Everything "
                "committed is kept; run the same command again to go on"
            )
        reading = f", reading {', '.join(self.beat.files)}" if self.beat.files else ""
        return (
            f"rank {rank} has made no progress for {self.seconds:.0f} s {where}{reading}. "
            "Its stack is in status.jsonl. Everything committed is kept; run the same command again to go on"
        )


def find_hangs(heard: Mapping[int, tuple[Beat, float]], hang_s: float) -> list[Hang]:
    """Return the ranks that hold up the run: silent ones, else those that hang alone, else those furthest behind.

    A rank that waits in a collective is no culprit while another one, which it may wait for, gets on.
    """
    running = {rank: (beat, silent) for rank, (beat, silent) in heard.items() if beat.phase != "done"}
    silent = [Hang(beat, since, True) for beat, since in running.values() if since > hang_s]
    if silent:
        return silent
    quiet = [
        replace(beat, quiet_s=beat.quiet_s + since)
        for beat, since in running.values()
        if beat.quiet_s + since > hang_s * (LONG if beat.phase in LONG_PHASES else 1)
    ]
    found = [beat for beat in quiet if beat.phase in ALONE]
    if not found and quiet and len(quiet) == len(running):
        behind = min(beat.marks for beat in quiet)
        found = [beat for beat in quiet if beat.marks == behind]
    return [Hang(beat, beat.quiet_s, False) for beat in found]


@dataclass(frozen=True, slots=True)
class Slow:
    """A rank that took much longer than the others for what it does alone."""

    rank: int
    phase: str
    seconds: float
    others_s: float


def find_slow(before: Sequence[Beat], after: Sequence[Beat], window_s: float) -> list[Slow]:
    """Return the ranks whose time in a phase within a window is over 3 times the median of the others.

    Only phases in which a rank waits for nobody: in the others the fast ranks spend the time that the slow one costs.
    """
    found = []
    for phase in sorted(ALONE):
        spent = {
            late.rank: late.seconds.get(phase, 0.0) - early.seconds.get(phase, 0.0)
            for early, late in zip(before, after, strict=True)
        }
        for rank, seconds in spent.items():
            others = [value for other, value in spent.items() if other != rank]
            median = statistics.median(others) if others else seconds
            if seconds > SLOW * median and seconds > SLOW_SHARE * window_s:
                found.append(Slow(rank, phase, seconds, median))
    return found
