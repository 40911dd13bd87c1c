"""The gap report as a table for people: findings, worst slices, totals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tao_runtime.score.gap import GapReport
from tao_runtime.score.interval import Estimate

SHOWN = 10


def print_gaps(report: GapReport, console: Console | None = None) -> None:
    """Print to the console (default: standard output)."""
    console = console or Console()
    for finding in report.findings:
        colour = {"error": "red", "warning": "yellow"}.get(finding.severity, "dim")
        console.print(Text(finding.render(), style=colour), soft_wrap=True)
    if report.gaps is None:
        return
    if report.slices:
        console.print(_slices(report))
    counts = report.counts
    kinds = ", ".join(
        f"{name} {counts[name]:,}" for name in ("FP", "FN", "WRONG", "UNPARSEABLE", "MISSING") if counts[name]
    )
    total = f"{counts['failures']:,} of {counts['judged']:,} answers fail"
    rate = f"{interval(report.error_rate)}; judged as {report.kind}, {report.match}"
    console.print(Text(f"{total} ({kinds or 'none'}), {rate}"), soft_wrap=True)
    console.print(Text(f"{counts['written']:,} failures written to {report.gaps}"), soft_wrap=True)


@contextmanager
def counting_rows() -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many rows are done; give `find_gaps` what comes out as `progress`."""
    with Console(stderr=True).status("reading results") as status:
        yield lambda done: status.update(f"judging answers: {done:,}")


def interval(figure: Estimate) -> str:
    """`12.5% [4.1% to 30.2%]`; a dash where nothing was measured."""
    if figure.value is None:
        return "-"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.1%}"
    return f"{figure.value:.1%} [{figure.low:.1%} to {figure.high:.1%}]"


def _slices(report: GapReport) -> Table:
    shown = report.slices[:SHOWN]
    left = f", {len(shown)} of {report.num_slices} slices" if report.num_slices > len(shown) else ""
    table = Table(title=f"Worst slices{left}", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("question", overflow="fold", ratio=1)
    table.add_column("ground truth", overflow="fold")
    for name in ("failures", "of", "error rate [95 %]"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in shown:
        row = (f"{each.failures:,}", f"{each.n:,}", interval(each.error_rate))
        table.add_row(Text(each.question), Text(each.ground_truth), *row)
    return table
