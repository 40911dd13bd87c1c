"""From a passing plan to running processes: the run directory, the ledgers, torchrun. Imports no torch itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import yaml
from tokenizers import Tokenizer

from tao_runtime import __version__
from tao_runtime.data.facts import Facts
from tao_runtime.data.families import PromptOptions, dry_family
from tao_runtime.engine.clip_launch import clip_ledgers, held_out_ledgers, no_ledgers
from tao_runtime.engine.cluster import Cluster
from tao_runtime.engine.commits import list_commits, read_json, write_atomically
from tao_runtime.engine.curves import CURVE, draw_run
from tao_runtime.engine.kept import prepare_kept
from tao_runtime.engine.lock import alone_in
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.resume import find_start
from tao_runtime.engine.run_dir import CONFIG, LEDGER, PLAN, REPORT, RUN, STATUS, now
from tao_runtime.engine.supervise import run_child
from tao_runtime.errors import ExitCode, Finding, FindingsError, Fix, RunError, StoppedError
from tao_runtime.plan.clip_ledger import ClipLedger
from tao_runtime.plan.ledger import Ledger, SampleRules, make_ledger
from tao_runtime.plan.model import (
    DatasetPlan,
    EvaluatePlan,
    InferencePlan,
    Plan,
    TrainPlan,
    VideoEvaluatePlan,
    VideoInferencePlan,
)
from tao_runtime.preflight.report import Report
from tao_runtime.spec.base import Spec

ALONE = Cluster()

# Environment variables that explain a run. Names of all others are recorded, their values are not.
RECORDED = ("CUDA_VISIBLE_DEVICES", "NCCL_DEBUG", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "SLURM_JOB_ID", "WORLD_SIZE")


def launch(
    spec: Spec, facts: Facts, plan: Plan, report: Report, *, cluster: Cluster = ALONE, anew: bool = False
) -> Path:
    """Run a plan whose report passed; returns the run directory when this node's part is done.

    `anew`: forget answers and clips that an earlier launch left in the directory.

    Raises:
        FindingsError: the report has errors, or the directory holds another run.
        RunError: the run failed. StoppedError: it was stopped and can be resumed.
    """
    if not report.ok:
        raise FindingsError(finding for finding in report.findings if finding.severity == "error")
    run_dir = Path(plan.output_dir)
    refuse_finished(run_dir, plan)
    if isinstance(plan, TrainPlan):
        find_start(run_dir, plan)  # refuses what cannot be resumed before anything is written
    world = plan.mesh.world if isinstance(plan, TrainPlan) else plan.world
    cluster.processes_here(world)
    if cluster.rank > 0:
        # Workers start when all nodes have met, so after node 0 has written what they read.
        run_workers(run_dir, plan.action, world, cluster)
        return run_dir
    ledgers = make_ledgers(plan, facts)
    run_dir.mkdir(parents=True, exist_ok=True)
    with alone_in(run_dir):
        if isinstance(plan, EvaluatePlan | InferencePlan | VideoInferencePlan):
            prepare_kept(run_dir, plan, complete=(run_dir / RUN).is_file(), anew=anew)
        if not isinstance(plan, TrainPlan):
            (run_dir / RUN).unlink(missing_ok=True)  # until every item is there, nothing is complete
        refuse_finished(run_dir, plan)  # again: another launcher may have ended meanwhile
        set_finished_aside(run_dir)
        for label, ledger in ledgers.items():
            ledger.save(run_dir / LEDGER.format(label=label))
        write_inputs(run_dir, spec, plan, report, world=world)
        try:
            run_workers(run_dir, plan.action, world, cluster)
        finally:  # also of a run that was stopped, or failed: there its curve is looked at first
            if isinstance(plan, TrainPlan) and (why := draw_run(run_dir)) is not None:
                print(f"{CURVE} was not drawn: {why}", file=sys.stderr)
    return run_dir


def refuse_finished(run_dir: Path, plan: Plan) -> None:
    """A complete run is never written over; it may be gone on with, by a plan of more steps."""
    if not (run_dir / RUN).is_file() or not isinstance(plan, TrainPlan):
        return
    done = read_json(run_dir / RUN).get("steps")
    goes_on = plan.checkpoint.enabled and plan.checkpoint.resume and list_commits(run_dir / "checkpoints")
    if goes_on and isinstance(done, int) and (plan.steps.total or 0) > done:
        return
    raise FindingsError(
        [
            Finding(
                rule="run/complete",
                severity="error",
                where="results_dir",
                saw=f"{run_dir} holds a complete run",
                want="a directory without run.json, or a plan of more steps",
                fix=Fix(text="choose another results_dir, or raise train.epoch to train this one further"),
            )
        ]
    )


def set_finished_aside(run_dir: Path) -> None:
    """Keep the record of a run that is gone on with under another name: until the end, nothing is complete."""
    if (run_dir / RUN).is_file():
        steps = read_json(run_dir / RUN)["steps"]
        (run_dir / RUN).rename(run_dir / f"run-{steps:09d}.json")


def make_ledgers(plan: Plan, facts: Facts) -> Mapping[str, Ledger | ClipLedger]:
    """Return the ledger of every data set that the plan reads, by label.

    Raises:
        FindingsError: records are longer than the model may see, beyond the budget of bad samples.
    """
    if isinstance(plan, InferencePlan):
        return {}
    if isinstance(plan, VideoInferencePlan):
        return no_ledgers(plan)
    if isinstance(plan, VideoEvaluatePlan):
        return held_out_ledgers(plan, facts)
    if isinstance(plan, TrainPlan) and plan.data.clips is not None:
        return clip_ledgers(plan, facts)
    datasets: dict[str, tuple[DatasetPlan, str]] = {}
    if isinstance(plan, TrainPlan):
        datasets["train"] = (plan.data.train, "train")
        if plan.data.val is not None:
            datasets["val"] = (plan.data.val, "train" if plan.data.val.only is not None else "val")
        sampling, system, key = plan.data.sampling, plan.data.system_prompt, plan.data.conversation_key
        prompt_format, budget = plan.data.prompt_format, plan.data.bad_sample_budget
    else:
        datasets["eval"] = (plan.data, "eval")
        sampling, system, key = plan.sampling, plan.system_prompt, "conversations"
        prompt_format, budget = plan.prompt_format, 0
    name = "base_model" if plan.model.base_path else "architecture" if plan.model.architecture else "model"
    model = facts.models[name]
    assert model is not None and model.directory is not None, "the report passed"
    tokenizer = Tokenizer.from_file(str(model.directory / "tokenizer.json"))
    flops = dry_family(plan.family).forward_flops(model.config, model.geometry)
    ledgers: dict[str, Ledger] = {}
    for label, (dataset, source) in datasets.items():
        prompt = PromptOptions(prompt_format, system, key, dataset.response_mode)
        rules = SampleRules(plan.family, sampling, model.geometry, prompt, plan.model.max_length)
        with StepProgress(f"measure {label}", dataset.num_records or 0) as progress:
            ledger = make_ledger(
                dataset, facts.datasets[source], rules, tokenizer, flops=flops, on_record=progress.advance
            )
        if len(ledger.too_long) > budget:
            raise FindingsError([_too_long(label, ledger, plan, budget)])
        ledgers[label] = ledger
    return ledgers


def _too_long(label: str, ledger: Ledger, plan: TrainPlan | EvaluatePlan, budget: int) -> Finding:
    training = isinstance(plan, TrainPlan)
    key, vision = ("policy.model_max_length", "custom.vision") if training else ("model.max_length", "vision")
    named, more = ", ".join(map(str, ledger.too_long[:5].tolist())), ", ..." if len(ledger.too_long) > 5 else ""
    return Finding(
        rule="dataset/too-long",
        severity="error",
        where=key,
        saw=f"{len(ledger.too_long)} of {len(ledger) + len(ledger.too_long)} {label} records are longer than "
        f"{plan.model.max_length} tokens (records {named}{more})",
        want=f"at most {budget}" + (" (train.bad_sample_budget)" if training else ""),
        fix=Fix(text=f"raise {key}, or lower nframes, fps or total_pixels of {vision}"),
    )


def write_inputs(run_dir: Path, spec: Spec, plan: Plan, report: Report, *, world: int) -> None:
    """Write what the workers read and what a reader needs to understand the run. No secret value is among it."""
    write_atomically(run_dir / CONFIG, yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
    write_atomically(run_dir / PLAN, plan.model_dump_json(by_alias=True, indent=1) + "\n")
    write_atomically(run_dir / REPORT, report.model_dump_json(by_alias=True, indent=1) + "\n")
    info = {
        "version": __version__,
        "action": plan.action,
        "family": plan.family,
        "spec_sha256": plan.spec_sha256,
        "processes": world,
        "python": sys.version.split()[0],
        "launched_at": now(),
    }
    write_atomically(run_dir / "launch_info.yaml", yaml.safe_dump(info, sort_keys=False))
    write_atomically(run_dir / "job_env.yaml", yaml.safe_dump(recorded_environment(os.environ)))


def recorded_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """Return the names of all variables, and the values of the few that are known to hold no secret."""
    return {
        "names": sorted(environment),
        "values": {name: environment[name] for name in RECORDED if name in environment},
    }


# glibc gives large blocks back to the system each time they are freed, and then takes every page anew: with these it
# keeps them (5 to 8 % of a step on a CPU). The allocator of a GPU is another one.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def run_workers(run_dir: Path, action: str, world: int, cluster: Cluster = ALONE) -> None:
    """Run this node's worker processes to their end.

    Raises:
        RunError: a worker failed; what it said is on the terminal and in status.jsonl.
        StoppedError: the run was asked to stop, and did.
    """
    worker = ["-m", "tao_runtime.engine.worker", action, str(run_dir)]
    if world == 1:
        command = [sys.executable, *worker]
    else:
        agent = ["-m", "tao_runtime.engine.agent", str(run_dir), *cluster.torchrun(world)]
        command = [sys.executable, *agent, *worker]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TOKENIZERS_PARALLELISM": "false",
        **{name: os.environ.get(name, value) for name, value in KEEP_MEMORY.items()},
    }
    before = _num_events(run_dir)
    ended = run_child(command, environment)
    if ended.code == 0:
        return
    events = list(_read_events(run_dir / STATUS))[before:]
    said = {str(event["event"]): event for event in events}  # the last of each kind
    # torchrun has its own exit code when it was signalled itself; what the ranks wrote is the truth.
    if ended.code == ExitCode.STOPPED or "stopped" in said:
        raise StoppedError(f"{run_dir}: stopped on request; run the same command again to go on")
    if ended.asked is not None and "failed" not in said and "start" not in said:
        when = " before the first step" if action == "train" else "; run the same command again to go on"
        raise StoppedError(f"{run_dir}: stopped on request ({ended.asked}){when}")
    how = f"was ended by {ended.signal}" if ended.signal else f"failed (exit code {ended.code})"
    raise RunError(f"{run_dir}: {action} {how}. {said.get('failed', {}).get('reason', '')}".rstrip())


def _num_events(run_dir: Path) -> int:
    return sum(1 for _ in _read_events(run_dir / STATUS))


def _read_events(status: Path) -> Iterator[dict[str, object]]:
    """Yield the events of status.jsonl. A process that was killed may have left half a line."""
    if not status.is_file():
        return
    for line in status.read_text().splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event
