"""Rendering of what is known before a run, for people or as JSON. Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tao_runtime.preflight.report import Report
from tao_runtime.spec.families import Family

COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def report(found: Report, *, as_json: bool, to_stderr: bool = False) -> None:
    """Print a report: findings, worst first, then how it stands."""
    if as_json:
        print(found.model_dump_json(by_alias=True, indent=1))
        return
    console = Console(stderr=to_stderr, highlight=False)
    lines = found.render().splitlines()
    for finding, line in zip(found.findings, lines, strict=False):
        console.print(Text(line, style=COLOURS[finding.severity]), soft_wrap=True)
    console.print(Text(lines[-1], style="green" if found.ok else COLOURS["error"]), soft_wrap=True)


def families(known: Mapping[str, Family], *, as_json: bool) -> None:
    """Print the families."""
    if as_json:
        rows = {name: {"title": item.title, "actions": list(item.actions)} for name, item in known.items()}
        print(json.dumps(rows, indent=1))
        return
    table = Table("family", "what it is", "runs", box=box.SIMPLE_HEAD)
    for name, item in known.items():
        table.add_row(name, item.title, " ".join(item.actions))
    Console().print(table)
