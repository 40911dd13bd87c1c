"""The command that audits what a trainer wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Towers = Annotated[list[str] | None, typer.Option(metavar="TOWER", help="Tower or module; may be given again.")]


def audit(
    path: Annotated[Path, typer.Argument(help="A model, adapter, pipeline, checkpoint, run, or one weight file.")],
    base: Annotated[Path | None, typer.Option(help="The model it was trained from: names, shapes, towers.")] = None,
    values: Annotated[
        bool | None,
        typer.Option(help="Read all bytes, or none. Default: adapters, the newest commit, models that have a base."),
    ] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also load it with its library and run it once. Needs torch, and memory.")
    ] = False,
    expect_unchanged: Towers = None,
    expect_changed: Towers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Audit what any trainer wrote, from the files alone: no GPU, no torch, no pickle is loaded.

    Names one FSDP shard saved as whole, an adapter that was never trained, shards and indices that do not fit,
    tie flags, missing processor files. With --base also: names, shapes, and which towers have changed.

    With --probe also: does the library load every tensor, are outputs finite, do they differ from the base's.

    tao-run audit out/adapter --base models/base

    tao-run audit runs/first/export --base models/base --probe

    tao-run audit out/export --base models/base --expect-unchanged visual --json
    """
    from tao_runtime.audit import audit as run_audit
    from tao_runtime.audit.show import print_report, reading

    expected = {"expect_unchanged": expect_unchanged or (), "expect_changed": expect_changed or ()}
    with reading() as progress:
        report = run_audit(path, base=base, values=values, progress=progress, **expected)
    if probe:
        from tao_runtime.engine.trial.run import probe_report

        report = probe_report(report, path, base=base)
    print_report(report, as_json=as_json)
    raise typer.Exit(int(report.exit_code))
