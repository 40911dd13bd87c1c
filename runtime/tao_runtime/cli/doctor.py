"""`tao-run doctor`: what is right and wrong with this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

COLOURS = {"ok": "green", "warning": "yellow", "error": "bold red"}


def doctor(
    folder: Annotated[Path, typer.Option("--dir", help="Where runs will be written.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Look at this machine: driver, libraries against their pins, memory, limits, codecs, disk, ports."""
    from rich.console import Console
    from rich.text import Text

    from tao_runtime.data.machine import probe_machine
    from tao_runtime.preflight.doctor import diagnose

    found = diagnose(probe_machine(folder))
    console = Console(highlight=False)
    for line in () if as_json else found.lines:
        text = f"{line.state:8}{line.name:15} {line.saw}" + (f". Fix: {line.fix}" if line.fix else "")
        console.print(Text(text, style=COLOURS[line.state]), soft_wrap=True)
    if as_json:
        print(found.model_dump_json(by_alias=True, indent=1))
    raise typer.Exit(int(found.exit_code))
