"""Commands that run something: train, evaluate, inference, quantize."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tao_runtime.engine.cluster import Cluster
    from tao_runtime.preflight.prepare import Prepared

Spec = Annotated[Path, typer.Option("--spec", "-s", help="Spec file: YAML, TOML or JSON.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides: key.path=value", metavar="[KEY=VALUE]...")]
Nproc = Annotated[int | None, typer.Option("--nproc", min=1, help="Processes; default: as the spec's degrees say.")]
Receipt = Annotated[
    Path | None,
    typer.Option("--report", help="Start only if spec, data and environment are those of this report of check --json."),
]
Json = Annotated[bool, typer.Option("--json", help="Print run.json when done.")]
Anew = Annotated[bool, typer.Option("--anew", help="Forget what an earlier launch left in the directory.")]


def train(
    spec: Spec,
    overrides: Overrides = None,
    nproc: Nproc = None,
    receipt: Receipt = None,
    nnodes: Annotated[int, typer.Option(min=1, help="Machines; --nproc is then the processes on each.")] = 1,
    node_rank: Annotated[int, typer.Option(min=0, help="Which of the machines this is.")] = 0,
    rdzv_endpoint: Annotated[str, typer.Option(help="host:port of machine 0, where all meet.")] = "",
    as_json: Json = False,
) -> None:
    """Check a spec, then train: refuses on errors, resumes where an interrupted run was committed."""
    from tao_runtime.engine.cluster import Cluster

    cluster = Cluster(nnodes, node_rank, rdzv_endpoint)
    run_action("train", spec, overrides or [], How(nproc, as_json, cluster, receipt))


def evaluate(
    spec: Spec, overrides: Overrides = None, nproc: Nproc = None, anew: Anew = False, as_json: Json = False
) -> None:
    """Judge a model on held-out data: its answers to every record, or its loss and videos for every clip."""
    run_action("evaluate", spec, overrides or [], How(nproc, as_json, anew=anew))


def inference(
    spec: Spec, overrides: Overrides = None, nproc: Nproc = None, anew: Anew = False, as_json: Json = False
) -> None:
    """Answers about files, or clips from prompts. The same command again goes on after what is there."""
    run_action("inference", spec, overrides or [], How(nproc, as_json, anew=anew))


def quantize(
    spec: Spec,
    overrides: Overrides = None,
    env: Annotated[
        Path | None, typer.Option("--env", help="Where the environment for calibration is, or is made on first use.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Quantise a model, and prove it: both models answer held-out records, and other pixels change the answer."""
    run_action("quantize", spec, overrides or [], How(as_json=as_json, env=env))


@dataclass(frozen=True, slots=True)
class How:
    """How an action is run, and what is printed of it."""

    nproc: int | None = None
    as_json: bool = False
    cluster: Cluster | None = None
    receipt: Path | None = None
    env: Path | None = None
    anew: bool = False


def run_action(action: str, spec: Path, overrides: list[str], how: How) -> None:
    """Prepare, launch, and print what came of it: on the first machine, which writes it."""
    from tao_runtime.cli import show_run
    from tao_runtime.errors import FindingsError
    from tao_runtime.preflight.receipt import judge_receipt

    cluster = how.cluster
    world = how.nproc * cluster.nodes if how.nproc is not None and cluster is not None else how.nproc
    prepared = checked(action, spec, overrides, nproc=world)
    if how.receipt is not None and (stale := judge_receipt(how.receipt, prepared.report)):
        raise FindingsError(stale, family=prepared.spec.family, action=action)
    from tao_runtime.engine.hub import fetch_missing
    from tao_runtime.engine.launch import ALONE, launch
    from tao_runtime.engine.run_dir import RUN
    from tao_runtime.plan.model import QuantizePlan

    if fetch_missing(prepared.spec.models(), prepared.facts, family=prepared.spec.family):
        prepared = checked(action, spec, overrides, nproc=world)  # again, with all that the files tell
    plan = prepared.plan
    if isinstance(plan, QuantizePlan):
        from tao_runtime.engine.quantize.environment import prepare_interpreter

        prepare_interpreter(plan, how.env, num_gpus=prepared.facts.host.num_gpus)
    arguments = (prepared.spec, prepared.facts, plan, prepared.report)
    run_dir = launch(*arguments, cluster=cluster or ALONE, anew=how.anew)
    if cluster is not None and cluster.rank:
        return
    record = json.loads((run_dir / RUN).read_text())
    print(json.dumps(record) if how.as_json else show_run.run_text(run_dir, record))
    if isinstance(plan, QuantizePlan):
        raise typer.Exit(show_run.quantized(run_dir, as_json=how.as_json))


def checked(action: str, spec: Path, overrides: list[str], *, nproc: int | None) -> Prepared:
    """Prepare and show the report; ends the command where the report has errors."""
    from tao_runtime.cli import show
    from tao_runtime.cli.prepare import prepare
    from tao_runtime.errors import ExitCode

    prepared = prepare(spec, overrides, action=action, nproc=nproc)
    show.report(prepared.report, as_json=False, to_stderr=True)
    if not prepared.report.ok:
        raise typer.Exit(int(ExitCode.FINDINGS))
    return prepared
