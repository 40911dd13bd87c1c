"""Commands around a run: gaps, mining, the demo, and generation for developers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

deft = typer.Typer(help="The data loop: find gaps, mine a pool, make the next data set.", no_args_is_help=True)
dev = typer.Typer(help="For developers of this project.", no_args_is_help=True)


class Match(StrEnum):
    """How an answer is compared with the truth."""

    parsed = "parsed"
    exact = "exact"


def gaps(
    results_dir: Annotated[Path, typer.Option(help="Directory of an evaluation, or its results.json.")],
    kpi_ann_path: Annotated[Path, typer.Option(help="Annotations that were evaluated, or their root.")],
    gaps_parquet: Annotated[Path, typer.Option(help="Where to write the failures.")],
    kpi_media_path: Annotated[str, typer.Option(help="Media root; default: where the annotations are.")] = "",
    match: Annotated[Match, typer.Option(help="exact: .lower().strip() only.")] = Match.parsed,
    as_json: Json = False,
) -> None:
    """Find what an evaluated model gets wrong: a parquet of failures and the worst slices."""
    from tao_runtime.deft.gaps import find_gaps
    from tao_runtime.deft.records import open_set
    from tao_runtime.deft.table import counting_rows, print_gaps

    source = open_set(kpi_ann_path, kpi_media_path)
    with counting_rows() as progress:
        report = find_gaps(results_dir, source=source, gaps_parquet=gaps_parquet, match=match.value, progress=progress)
    print(report.model_dump_json(by_alias=True, indent=2)) if as_json else print_gaps(report)
    raise typer.Exit(int(report.exit_code))


@deft.command("mine")
def mine_command(
    gaps: Annotated[Path, typer.Option(help="gaps.parquet of the last round.")],
    pool: Annotated[Path, typer.Option(help="Annotated clips that are not used yet.")],
    train: Annotated[Path, typer.Option(help="Annotations of the last round.")],
    held_out: Annotated[list[Path], typer.Option(help="Annotations that must never be trained on.")],
    out: Annotated[Path, typer.Option(help="Directory of the next data set.")],
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips; default: all that fit.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice.")] = 0,
    media_root: Annotated[
        Path | None, typer.Option(help="Folder that media paths are written from; default: what all sources share.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take clips of the weak slices from a pool, and write the next training set. Sources stay as they are."""
    from tao_runtime.cli import show_run
    from tao_runtime.deft.dataset import merge
    from tao_runtime.deft.mine import mine
    from tao_runtime.deft.records import open_set, shared_folder

    base, source = open_set(train), open_set(pool)
    mined = mine(gaps, pool=source, train=base, held_out=[open_set(path) for path in held_out], limit=limit, seed=seed)
    root = media_root or shared_folder(base.media_root, source.media_root)
    show_run.mined(merge(base, mined=mined, out_dir=out, media_root=root), out, as_json=as_json)


def demo(
    family: Annotated[str, typer.Argument(help="Family to show; default: the first.")] = "",
    out: Annotated[Path, typer.Option(help="Directory for everything the demo makes.")] = Path("demo-output"),
    prepare_only: Annotated[
        bool, typer.Option("--prepare-only", help="Make the model, data and specs; run nothing.")
    ] = False,
) -> None:
    """Show the whole path on a tiny model and real clips made here: train, evaluate, gaps, mine, train again."""
    from tao_runtime.engine.demo import run_demo

    run_demo(family, out, prepare_only=prepare_only)


@dev.command()
def generate(
    check: Annotated[bool, typer.Option("--check", help="Compare only; exit 1 if anything differs.")] = False,
) -> None:
    """Write schemas, templates, manifests and the marked blocks of the docs from the specs and rules."""
    from tao_runtime.bank.generate import generate as write
    from tao_runtime.errors import FindingsError

    findings = write(Path.cwd(), check=check)
    if findings:
        raise FindingsError(findings)
    print("generated files are up to date" if check else "generated")
