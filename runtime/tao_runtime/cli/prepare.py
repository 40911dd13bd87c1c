"""Preparing a run with something to look at meanwhile; see `preflight/prepare.py` for what is done."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from tao_runtime.data.decode_probe import DecodeProgress
from tao_runtime.data.probe import Progress
from tao_runtime.errors import FindingsError
from tao_runtime.preflight import prepare as preflight
from tao_runtime.preflight.report import Report, from_findings


def prepare(
    path: Path, overrides: Sequence[str], *, action: str | None = None, nproc: int | None = None, offline: bool = False
) -> preflight.Prepared:
    """Load, probe, plan and check. Raises FindingsError for a spec that is wrong in itself."""
    with _counting() as progress:
        return preflight.prepare(path, overrides, action=action, nproc=nproc, offline=offline, progress=progress)


def prepare_report(
    path: Path, overrides: Sequence[str], *, nproc: int | None, offline: bool, decode: float | None = None
) -> Report:
    """Return the report of a run, after decoding a share of its media; a spec that is wrong in itself gives one too."""
    try:
        prepared = prepare(path, overrides, nproc=nproc, offline=offline)
        if decode is None:
            return prepared.report
        with _bar("decoding") as progress:
            return preflight.decode_media(prepared, decode, progress=progress).report
    except FindingsError as error:
        return from_findings(error.findings, action=error.action, family=error.family)


@contextmanager
def _bar(what: str) -> Iterator[DecodeProgress | None]:
    """Show on a terminal how far it is, and how long it will take."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _counting() -> Iterator[Progress | None]:
    """Show on a terminal what is being looked at."""
    if not sys.stderr.isatty():
        yield None
        return
    with Console(stderr=True).status("looking at the spec") as status:
        yield lambda what, count: status.update(f"looking at {what}: {count:,}")
