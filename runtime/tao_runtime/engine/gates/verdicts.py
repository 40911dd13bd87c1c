"""What the gates found: recorded one by one, raised together."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import JsonValue

from tao_runtime.engine.run_dir import RunLog
from tao_runtime.errors import RunError

NAMED = 5  # examples in a message; the rest is counted


class Verdicts:
    """Collects the outcomes of gates and the seconds they cost."""

    def __init__(self, log: RunLog) -> None:
        self.log = log
        self.seconds = 0.0
        self._problems: list[str] = []

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add what runs inside to the cost of the gates."""
        begin = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - begin

    def add(self, gate: str, problems: Sequence[str] = (), **detail: JsonValue) -> None:
        """Record a gate. `problems`: sentences that say saw, want and fix."""
        said: dict[str, JsonValue] = {"problems": [*problems[:NAMED]]} if problems else {}
        self.log.gate(gate, ok=not problems, **detail, **said)
        self._problems += [f"gate {gate}: {problem}" for problem in problems[:NAMED]]
        if more := len(problems) - NAMED:
            self._problems += [f"gate {gate}: and {more} more like these"] if more > 0 else []

    def warn(self, gate: str, text: str) -> None:
        """Say what is not certain to be wrong."""
        self.log.status("warning", rule=f"gate/{gate}", text=text)
        if self.log.is_main:
            print(f"warning[gate/{gate}] {text}", file=sys.stderr, flush=True)

    def settle(self) -> None:
        """Raise what was found since the last call.

        Raises:
            RunError: all of it.
        """
        problems, self._problems = self._problems, []
        if problems:
            raise RunError("\n".join(problems))


def listed(names: Sequence[str]) -> str:
    """Return a few names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
