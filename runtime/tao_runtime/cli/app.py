"""The command tree, and the commands that only look: families, template, explain, check, plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tao_runtime.cli import audit, convert, curve, doctor, export, ingest, loop, run
from tao_runtime.cli.prepare_general import general
from tao_runtime.cli.ship import ship

app = typer.Typer(
    help="Post-train world models so that green means right: check, plan, train, evaluate, find gaps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 findings, 2 unreadable input, 3 the run failed, 4 stopped and resumable.",
)
app.add_typer(loop.deft, name="deft")
app.add_typer(loop.dev, name="dev", hidden=True)
ingest.prepare.command()(general)
app.add_typer(ingest.prepare, name="prepare")
app.command()(ingest.access)
app.command()(audit.audit)
app.command()(curve.curve)
app.command()(doctor.doctor)
app.command()(export.export)
app.command()(convert.convert)
app.command()(loop.gaps)
app.command()(ship)
app.command()(loop.demo)
for command in (run.train, run.evaluate, run.inference, run.quantize):
    app.command()(command)

TRACE_S = 300.0
Spec = Annotated[Path, typer.Option("--spec", "-s", help="Spec file: YAML, TOML or JSON.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides: key.path=value", metavar="[KEY=VALUE]...")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Nproc = Annotated[int | None, typer.Option("--nproc", min=1, help="Processes; default: as the spec's degrees say.")]
Offline = Annotated[bool, typer.Option("--offline", help="Count on nothing that is not on this machine.")]


@app.command()
def families(as_json: Json = False) -> None:
    """List the model families and what can be done with each."""
    from tao_runtime.cli import show
    from tao_runtime.spec.families import FAMILIES

    show.families(FAMILIES, as_json=as_json)


@app.command()
def template(family: str, action: str) -> None:
    """Print a commented spec of FAMILY and ACTION with every key at its default."""
    from tao_runtime.bank.templates import render_template
    from tao_runtime.spec.families import spec_classes

    print(render_template(spec_classes(family=family, action=action)[0]), end="")


@app.command()
def explain(key: str, family: Annotated[str | None, typer.Option(help="Only this family.")] = None) -> None:
    """Explain a KEY of a spec, a rule of the preflight, or a code of the audit: meaning, type, bounds, default."""
    from tao_runtime.preflight.explain import explain_any

    if key.startswith("audit/"):
        from tao_runtime.audit.codes import explain_code

        print(explain_code(key))
        return
    print(explain_any(key, family=family))


@app.command()
def check(
    spec: Spec,
    overrides: Overrides = None,
    nproc: Nproc = None,
    offline: Offline = False,
    decode: Annotated[
        str | None,
        typer.Option("--decode", metavar="SHARE|all", help="Also decode this share of the media: all, 10% or 0.1."),
    ] = None,
    access: Annotated[
        bool,
        typer.Option("--access", help="Also ask the hub for what is not here; with --offline: prove it is."),
    ] = False,
    fix: Annotated[
        Path | None, typer.Option("--fix", help="Write repaired copies of spec and annotations into this folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a run before it starts: every record, every media file, the model, the machine, the arithmetic."""
    from tao_runtime.cli import show
    from tao_runtime.cli.prepare import prepare_report
    from tao_runtime.data.decode_probe import parse_share

    share = None if decode is None else parse_share(decode)
    report = prepare_report(spec, overrides or [], nproc=nproc, offline=offline, decode=share)
    if access:
        from tao_runtime.cli.ingest import with_access

        report = with_access(report, spec, overrides or [], offline=offline)
    show.report(report, as_json=as_json)
    if fix is not None:
        from tao_runtime.cli.fix import fix as write_fixed

        write_fixed(report, spec, overrides or [], fix, nproc=nproc)
    raise typer.Exit(int(report.exit_code))


@app.command()
def plan(
    spec: Spec,
    overrides: Overrides = None,
    nproc: Nproc = None,
    fit: Annotated[
        str | None,
        typer.Option(
            "--fit", metavar="DEVICES", help="Does it fit 24GB, or 8x80GB, and if not, what nearest run does?"
        ),
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", help="Run one step without numbers, and show its memory beside the estimate.")
    ] = False,
    trace_limit: Annotated[
        float | None, typer.Option("--trace-limit", min=1, help=f"Seconds a trace may take; {TRACE_S:g} unless given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the arithmetic of a run: steps, batches, mesh, saves, tokens, memory."""
    if fit is not None and trace:
        raise typer.BadParameter("--trace runs a step, --fit looks for one that fits: one of them at a time")
    if fit is not None and nproc is not None:
        raise typer.BadParameter("--fit says how many processes there are, as in 8x80GB: leave --nproc out")
    if trace_limit is not None and not trace:
        raise typer.BadParameter("--trace-limit says how long a trace may take: give --trace, too, or leave it out")
    if trace:
        from tao_runtime.cli.trace import show_trace

        raise typer.Exit(
            show_trace(spec, overrides or [], nproc=nproc, limit_s=trace_limit or TRACE_S, as_json=as_json)
        )
    if fit is not None:
        from tao_runtime.cli.fit import show_fit

        raise typer.Exit(show_fit(spec, overrides or [], fit, as_json=as_json))
    from tao_runtime.cli import show, show_plan
    from tao_runtime.cli.prepare import prepare

    prepared = prepare(spec, overrides or [], nproc=nproc)
    show_plan.plan(prepared.plan, as_json=as_json)
    if not prepared.report.ok:
        show.report(prepared.report, as_json=False, to_stderr=True)
    raise typer.Exit(int(prepared.report.exit_code))
