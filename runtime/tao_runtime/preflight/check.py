"""`check(spec, facts, plan)`: every rule that applies, and what the look at the world found. Pure."""

from __future__ import annotations

from itertools import chain

from tao_runtime.data.facts import Facts
from tao_runtime.plan.model import AnyPlan
from tao_runtime.preflight.report import Report, from_findings
from tao_runtime.preflight.rules import RULES
from tao_runtime.spec.base import Spec


def check(spec: Spec, facts: Facts, plan: AnyPlan) -> Report:
    """Judge a run before it starts. `train` refuses a plan without a report that is ok."""
    rules = [rule for rule in RULES.values() if rule.applies(spec)]
    findings = chain(
        facts.findings,
        *(dataset.findings for dataset in facts.datasets.values()),
        *(rule.findings(spec, facts, plan) for rule in rules),
    )
    return from_findings(findings, action=spec.action, family=spec.family, spec_sha256=spec.sha256, facts=facts)
