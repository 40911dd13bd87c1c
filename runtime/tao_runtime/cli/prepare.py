"""The way from a spec file to a report: load, probe, plan, check. Every command that runs something goes through it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tao_runtime.data.facts import Facts
from tao_runtime.data.probe import Progress, probe
from tao_runtime.errors import FindingsError
from tao_runtime.plan.make import make_plan
from tao_runtime.plan.model import Plan
from tao_runtime.preflight.check import check
from tao_runtime.preflight.report import Report, from_findings
from tao_runtime.spec.base import Spec
from tao_runtime.spec.load import load_spec


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before a run."""

    spec: Spec
    facts: Facts
    plan: Plan | None
    report: Report


def prepare(
    path: Path, overrides: Sequence[str], *, action: str | None = None, nproc: int | None = None, offline: bool = False
) -> Prepared:
    """Load, probe, plan and check. Raises FindingsError for a spec that is wrong in itself."""
    spec = load_spec(path, overrides, action=action)
    with _counting() as progress:
        facts = probe(spec, world_size=nproc, progress=progress, offline=offline)
    plan = make_plan(spec, facts)
    return Prepared(spec, facts, plan, check(spec, facts, plan))


def prepare_report(
    path: Path, overrides: Sequence[str], *, action: str | None, nproc: int | None, offline: bool
) -> Report:
    """Return the report of a run; a spec that is wrong in itself gives one too."""
    try:
        return prepare(path, overrides, action=action, nproc=nproc, offline=offline).report
    except FindingsError as error:
        return from_findings(error.findings, action=action or "unknown", family="unknown")


@contextmanager
def _counting() -> Iterator[Progress | None]:
    """Show on a terminal what is being looked at."""
    if not sys.stderr.isatty():
        yield None
        return
    with Console(stderr=True).status("looking at the spec") as status:
        yield lambda what, count: status.update(f"looking at {what}: {count:,}")
