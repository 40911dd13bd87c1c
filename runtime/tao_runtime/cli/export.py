"""The command that exports a committed checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Out = Annotated[Path, typer.Option("--out", help="New folder for what is written.")]
Json = Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")]


def export(
    source: Annotated[Path, typer.Argument(help="A run directory (its newest commit), or one checkpoints/iter_….")],
    out: Out,
    weights: Annotated[
        Literal["live", "ema"] | None, typer.Option(help="Default: averages where the run kept them.")
    ] = None,
    form: Annotated[
        Literal["full", "merged", "adapter"] | None, typer.Option(help="Default: merged for LoRA, else full.")
    ] = None,
    target: Annotated[
        Literal["transformers", "diffusers", "vllm"] | None, typer.Option(help="Default: the family's own library.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Export a committed checkpoint to a folder that the model's library loads; judged before it has its name.

    tao-run export runs/mine --out exports/mine

    tao-run export runs/mine/checkpoints/iter_000000200 --out exports/adapter --form adapter --target vllm
    """
    from tao_runtime.cli.show_export import print_manifest
    from tao_runtime.engine.export.checkpoint import Wish, export_checkpoint

    folder = export_checkpoint(source, out, Wish(weights, form, target))
    print_manifest(folder, as_json=as_json)
