"""`plan --trace`: the estimate of a run's memory beside what one step of it holds, run without numbers."""

from __future__ import annotations

from pathlib import Path

from tao_runtime.cli.prepare import prepare
from tao_runtime.errors import ExitCode, InputError
from tao_runtime.plan.make import network_config
from tao_runtime.plan.memory.traced import TraceReport
from tao_runtime.plan.model import TrainPlan

GIB = 2**30


def show_trace(spec: Path, overrides: list[str], *, nproc: int | None, limit_s: float, as_json: bool) -> int:
    """Print what was estimated and what was traced; returns the exit code."""
    try:
        from tao_runtime.engine.trace.report import trace_report
    except ImportError as error:
        raise InputError(f"--trace: {error}; want the packages that train: pip install 'tao-run[train]'") from error
    prepared = prepare(spec, overrides, nproc=nproc)
    if not isinstance(prepared.plan, TrainPlan):
        raise InputError(f"--trace: {prepared.spec.family} {prepared.spec.action} is no training")
    config = network_config(prepared.spec, prepared.facts)
    found = trace_report(prepared.plan, prepared.facts, config, limit_s=limit_s)
    print(found.model_dump_json(by_alias=True, indent=1) if as_json else "\n".join(_lines(found)))
    return int(ExitCode.DONE)


def _lines(found: TraceReport) -> list[str]:
    total = found.total
    rows = (
        ("weights, moments, averages", found.resident_estimated, found.resident_traced),
        ("at the peak of a step", found.peak_estimated, found.peak_traced),
    )
    return [
        "GiB of one process           estimated     traced",
        *(f"{name:28} {estimated / GIB:9.2f}  {traced / GIB:9.2f}" for name, estimated, traced in rows),
        f"with driver, allocator and video tokenizer, from the trace: about {total.expected / GIB:.1f} "
        f"({total.low / GIB:.1f} to {total.high / GIB:.1f})",
        f"traced in {found.seconds:.0f} s: attention as a CPU runs it, no GPU",
    ]
