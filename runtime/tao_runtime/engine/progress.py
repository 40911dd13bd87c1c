"""Progress on the terminal: a bar where there is one, a line now and then where output goes to a file."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


class StepProgress:
    """Shows how far a run is; silent on every process but the main one."""

    def __init__(self, title: str, total: int, *, done: int = 0, enabled: bool = True) -> None:
        self.title = title
        self.total = total
        self.done = done
        self._enabled = enabled
        self._note = ""
        self._last_line = time.monotonic()
        console = Console(file=sys.stderr)
        self._bar: Progress | None = None
        if enabled and console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> StepProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._enabled and self.done:
            self._print()

    def expect(self, total: int) -> None:
        """Take another total: what only the process that works knows."""
        self.total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total)

    def advance(self, *, by: int = 1, note: str | None = None) -> None:
        """Count `by` more, and show `note` beside the bar."""
        self.done += by
        self._note = note if note is not None else self._note
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=self._note)
        elif self._enabled and time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._print()

    def say(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _print(self) -> None:
        self._last_line = time.monotonic()
        print(f"{self.title} {self.done}/{self.total} {self._note}", file=sys.stderr, flush=True)
