"""What the audit prints: colours for people, JSON for machines, and a bar while much is read."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from tao_runtime.audit.report import AuditReport
from tao_runtime.audit.values import Progress as Report

PATIENCE_S = 2.0
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def print_report(report: AuditReport, *, as_json: bool) -> None:
    """Print to standard output."""
    if as_json:
        print(report.model_dump_json(by_alias=True, indent=1))
        return
    console = Console(highlight=False)
    lines = report.render().splitlines()
    for finding, line in zip(report.findings, lines, strict=False):
        console.print(Text(line, style=_COLOURS[finding.severity]), soft_wrap=True)
    for line in lines[len(report.findings) : -1]:
        console.print(Text(line), soft_wrap=True)
    console.print(Text(lines[-1], style="green" if report.ok else _COLOURS["error"]), soft_wrap=True)


@contextmanager
def reading() -> Iterator[Report]:
    """Yield a callback that shows a bar on standard error once reading has taken two seconds."""
    columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("reading", visible=False)

        def report(done: int, total: int) -> None:
            late = time.monotonic() - start > PATIENCE_S
            bar.update(task, completed=done, total=total, visible=late)

        yield report
