"""`tao-run curve`: the loss curves of a run, or of several over each other, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def curve(
    runs: Annotated[list[Path], typer.Argument(help="Directories of training runs.", metavar="RUN...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write.")] = Path("loss.png"),
) -> None:
    """Draw loss, validation loss, learning rate and gradient norm of runs, also of ones that still train."""
    from tao_runtime.engine.curves import draw_curves, name_runs, read_curves

    draw_curves({name: read_curves(folder) for name, folder in name_runs(runs).items()}, out)
    print(out)
