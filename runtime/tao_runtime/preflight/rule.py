"""What a rule is, and the registry of all of them: those judged here and those judged while the data is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from tao_runtime.data import access_rules as _access  # noqa: F401 - declares its rules
from tao_runtime.data import decode_probe as _decode  # noqa: F401 - declares its rules
from tao_runtime.data import launch as _launch  # noqa: F401 - declares its rules
from tao_runtime.data import probe as _probe  # noqa: F401 - declares every other rule of the data floor
from tao_runtime.data.facts import Facts
from tao_runtime.data.fold import DATA_RULES
from tao_runtime.errors import Finding, Fix, Severity
from tao_runtime.plan.model import AnyPlan
from tao_runtime.spec.base import Spec


@dataclass(frozen=True, slots=True)
class Problem:
    """What a rule saw. The rule's name and severity are added to make a finding."""

    where: str
    saw: str
    want: str
    fix: str | None = None
    patch: Mapping[str, JsonValue] | None = None  # overrides of the spec
    record: int | None = None
    file: str | None = None
    severity: Severity | None = None  # None: the rule's


# The spec is the family's own class and the plan the action's own: a rule names its families and actions.
Judge = Callable[[Any, Facts, Any], Iterator[Problem]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as the registry holds it."""

    name: str
    severity: Severity
    families: tuple[str, ...]  # empty: all
    actions: tuple[str, ...]  # empty: all
    doc: str
    source: str
    judge: Judge | None = None  # None: judged while the data is read; its findings are in the facts

    def applies(self, spec: Spec) -> bool:
        return (not self.families or spec.family in self.families) and (not self.actions or spec.action in self.actions)

    def findings(self, spec: Spec, facts: Facts, plan: AnyPlan) -> Iterator[Finding]:
        """Yield what this rule finds wrong."""
        for problem in self.judge(spec, facts, plan) if self.judge else ():
            yield Finding(
                rule=self.name,
                severity=problem.severity or self.severity,
                where=problem.where,
                saw=problem.saw,
                want=problem.want,
                fix=Fix(text=problem.fix, patch=dict(problem.patch) if problem.patch else None)
                if problem.fix
                else None,
                record=problem.record,
                file=problem.file,
            )


RULES: dict[str, Rule] = {
    info.name: Rule(info.name, info.severity, info.families, info.actions, info.doc, info.source)
    for info in DATA_RULES.values()
}


def rule(
    name: str,
    severity: Severity,
    *,
    source: str,
    families: tuple[str, ...] = (),
    actions: tuple[str, ...] = (),
) -> Callable[[Judge], Judge]:
    """Register a rule under its name; its docstring is what rules.md prints."""

    def register(judge: Judge) -> Judge:
        assert name not in RULES and judge.__doc__, f"{name}: taken, or without a docstring"
        RULES[name] = Rule(name, severity, families, actions, " ".join(judge.__doc__.split()), source, judge)
        return judge

    return register
