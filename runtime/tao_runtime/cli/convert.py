"""The command that converts weights between names and layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Towers = Annotated[
    list[str] | None,
    typer.Option("--tower", metavar="NAME=SOURCE", help="Take this tower from elsewhere; may be given again."),
]


def convert(
    source: Annotated[Path, typer.Argument(help="A library's folder, a distributed checkpoint, .safetensors or .pt.")],
    family: Annotated[str, typer.Option(help="Whose network it is.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for what is written.")],
    to: Annotated[Literal["safetensors", "dcp"], typer.Option(help="Layout of the weights.")] = "safetensors",
    names: Annotated[Literal["library", "original"], typer.Option(help="Whose names they have.")] = "library",
    like: Annotated[
        Path | None, typer.Option(help="Folder of the released model; needed where SOURCE has no config.json.")
    ] = None,
    weights: Annotated[Literal["live", "ema"], typer.Option(help="Of a source that holds both.")] = "live",
    tower: Towers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Convert weights to a folder that load_path can name, and back; no pickle is executed, no tensor is guessed.

    tao-run convert model.pt --family FAMILY --like released/pipeline --out base

    tao-run convert base --family FAMILY --to dcp --names original --out upstream

    tao-run convert language --family FAMILY --tower visual=released/folder --out merged
    """
    from tao_runtime.cli.show_export import pairs, print_manifest
    from tao_runtime.engine.convert.run import Request
    from tao_runtime.engine.convert.run import convert as run_convert
    from tao_runtime.spec.families import spec_classes

    spec_classes(family=family)  # a family that exists
    request = Request(source, family, out, to, names, like, weights, pairs(tower or []))
    print_manifest(run_convert(request), as_json=as_json)
