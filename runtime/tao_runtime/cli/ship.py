"""`tao-run ship`: base against tuned, with a verdict and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tao_runtime.score.ship import Model, ShipReport
    from tao_runtime.ship.judge import ResultSet


def ship(
    base: Annotated[str, typer.Option(help="Results of the base, or with --spec the base model.")],
    tuned: Annotated[str, typer.Option(help="Results of the tuned model, or with --spec the model.")],
    out: Annotated[Path, typer.Option(help="Directory of ship.html and ship.json.")],
    quantised: Annotated[str | None, typer.Option(help="The same of the quantised model.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=BASE,TUNED[,QUANTISED]", help="Results of what must not be forgotten."),
    ] = None,
    spec: Annotated[Path | None, typer.Option("--spec", "-s", help="Evaluate the models with this spec first.")] = None,
    general: Annotated[
        list[Path] | None, typer.Option(help="With --spec: a spec of what must not be forgotten. Default: a made set.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Differences up to this share do not matter.")] = 0.02,
    examples: Annotated[int, typer.Option(min=0, max=100, help="Examples of each comparison.")] = 12,
    media_root: Annotated[Path | None, typer.Option(help="Where the clips lie, if no plan says it.")] = None,
    nproc: Annotated[int | None, typer.Option("--nproc", min=1, help="Processes of each evaluation.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Is the tuned model better than its base, and nowhere worse? Better, same, worse, or cannot tell; and a page.

    tao-run ship --base runs/base --tuned runs/evaluate --set general=runs/g-base,runs/g-tuned --out runs/ship

    tao-run ship --spec evaluate.yaml --base models/base --tuned runs/train/export/model --out runs/ship
    """
    from tao_runtime.data.paths import refuse_file
    from tao_runtime.ship.judge import Options, judge_ship
    from tao_runtime.ship.write import write_ship

    refuse_file(out)
    models: dict[Model, str] = {"base": base, "tuned": tuned}
    if quantised is not None:
        models["quantised"] = quantised
    if spec is not None:
        from tao_runtime.cli.ship_evaluate import evaluate_all

        judged = evaluate_all(models, spec, general or [], out=out, nproc=nproc)
    else:
        judged = [_evaluation({name: Path(place) for name, place in models.items()})]
    judged += [_general(text) for text in sets or []]
    report = write_ship(judge_ship(judged, Options(tolerance, examples, media_root)), out)
    print(report.model_dump_json(by_alias=True, indent=1)) if as_json else _print(report, out)
    raise typer.Exit(int(report.exit_code))


def _evaluation(results: dict[Model, Path]) -> ResultSet:
    from tao_runtime.ship.judge import ResultSet

    return ResultSet("evaluation", "evaluation", results)


def _general(text: str) -> ResultSet:
    from tao_runtime.errors import InputError
    from tao_runtime.ship.judge import MODELS, ResultSet

    name, equals, places = text.partition("=")
    paths = places.split(",")
    if not name or not equals or not 2 <= len(paths) <= len(MODELS) or not all(paths):
        raise InputError(f"--set {text}: not of the form NAME=BASE,TUNED or NAME=BASE,TUNED,QUANTISED")
    return ResultSet(name, "general", {model: Path(path) for model, path in zip(MODELS, paths, strict=False)})


def _print(report: ShipReport, out: Path) -> None:
    """Print findings, a line for each comparison, and the verdict."""
    from rich.console import Console
    from rich.text import Text

    from tao_runtime.ship.page import signed

    console = Console(highlight=False)
    colours = {"better": "green", "same": "cyan", "worse": "bold red", "cannot tell": "yellow"}
    severities = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for finding in report.findings:
        console.print(Text(finding.render(), style=severities[finding.severity]), soft_wrap=True)
    for each in report.sets:
        for versus in each.versus:
            line = (
                f"{each.name}: {versus.after} minus {versus.before} {signed(versus.difference)} points, n = {each.n:,}"
            )
            console.print(Text(line + ": ").append(versus.verdict, style=colours[versus.verdict]), soft_wrap=True)
    console.print(Text(f"{report.verdict}: {report.reason}", style=colours[report.verdict]), soft_wrap=True)
    console.print(Text(f"{out / (report.page or '')}"), soft_wrap=True)
