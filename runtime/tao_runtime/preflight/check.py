"""`check(spec, facts, plan)`: every rule that applies, and what the look at the world found. Pure.

`check_file` is the whole way there from a spec file: load, probe, plan, check.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from tao_runtime.data.annotations import FoldFactory
from tao_runtime.data.facts import Facts
from tao_runtime.data.probe import Progress, probe
from tao_runtime.errors import FindingsError
from tao_runtime.plan.make import make_plan
from tao_runtime.plan.model import Plan
from tao_runtime.preflight.report import Report, from_findings
from tao_runtime.preflight.rule import RULES
from tao_runtime.spec.base import Spec
from tao_runtime.spec.load import load_spec


def check(spec: Spec, facts: Facts, plan: Plan | None) -> Report:
    """Judge a run before it starts. `train` refuses a plan without a report that is ok."""
    rules = [rule for rule in RULES.values() if rule.applies(spec)]
    findings = chain(
        facts.findings,
        *(dataset.findings for dataset in facts.datasets.values()),
        *(rule.findings(spec, facts, plan) for rule in rules),
    )
    return from_findings(findings, action=spec.action, family=spec.family, spec_sha256=spec.sha256, facts=facts)


def check_file(
    path: str | Path,
    overrides: Iterable[str] = (),
    *,
    action: str | None = None,
    folds: Sequence[FoldFactory] = (),
    world_size: int | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Load a spec, look at the world, plan, and judge. Mistakes in the spec itself make a report too.

    Raises InputError if the spec file cannot be read at all.
    """
    try:
        spec = load_spec(path, tuple(overrides), action=action)
    except FindingsError as error:
        return from_findings(error.findings, action=action or "spec", family="")
    facts = probe(spec, folds=folds, world_size=world_size, progress=progress, offline=offline)
    return check(spec, facts, make_plan(spec, facts))
