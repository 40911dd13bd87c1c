"""`tao-run prepare general`: a small set of what a tuned model must not forget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def general(
    out: Annotated[Path, typer.Option(help="Directory of annotations.json and media/.")],
    per_question: Annotated[int, typer.Option(min=4, help="Records of each of the three questions.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is drawn.")] = 0,
) -> None:
    """Draw a general set: colour, count and direction of squares, as pictures and clips with multiple choice."""
    from tao_runtime.engine.general_set import make_general_set

    count = make_general_set(out, per_question=per_question, seed=seed)
    print(f"{out / 'annotations.json'}: {count} records")
