"""The whole gate: sets of results in, a report out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tao_runtime.data.fold import Collector
from tao_runtime.errors import Finding, Fix, InputError
from tao_runtime.score.ship import Model, Role, SetReport, ShipReport, Verdict, Versus
from tao_runtime.ship import rules
from tao_runtime.ship.answers import Answers, judge_settings, read_answers
from tao_runtime.ship.compare import Gate, compare_set
from tao_runtime.ship.pairing import pair

MODELS: tuple[Model, ...] = get_args(Model)
SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class ResultSet:
    """One set of questions: where each model's results lie."""

    name: str
    role: Role
    results: Mapping[Model, Path]


@dataclass(frozen=True, slots=True)
class Options:
    """How strict, and how many examples."""

    tolerance: float = 0.02
    examples: int = 12  # of each comparison
    media_root: Path | None = None  # where no plan beside the results says it


def judge_ship(sets: Sequence[ResultSet], options: Options) -> ShipReport:
    """Judge every set and say whether to ship. Raises InputError for what cannot be read."""
    if not 0 <= options.tolerance < 1:
        raise InputError(f"--tolerance {options.tolerance}: want a share of 0 to below 1; 0.02 is two points")
    reports, findings = [], []
    for each in sets:
        report, found = _judge_set(each, options)
        reports.append(report)
        findings += found
    if not any(each.role == "general" for each in sets):
        findings.append(_no_general())
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    verdict, reason = overall(reports)
    return ShipReport(
        ok=not any(finding.severity == "error" for finding in findings),
        verdict=verdict,
        reason=reason,
        tolerance=options.tolerance,
        sets=tuple(reports),
        findings=tuple(findings),
    )


def overall(sets: Sequence[SetReport]) -> tuple[Verdict, str]:
    """Worst first: one set that is worse decides, then one that cannot tell; better is what the evaluation says."""
    shipped = [each.name for each in sets if each.role == "evaluation" and _shipped(each).verdict == "better"]
    gained = f"better on {', '.join(shipped)}"
    grave: tuple[Verdict, ...] = ("worse", "cannot tell")
    for verdict in grave:
        hit = [
            f"{each.name} ({versus.after} against {versus.before})"
            for each in sets
            for versus in each.versus
            if versus.verdict == verdict
        ]
        if hit:
            return verdict, f"{verdict} on {', '.join(hit)}" + (f"; {gained}" if shipped else "")
    return (
        ("better", f"{gained}, and worse on none") if shipped else ("same", "all differences are within the tolerance")
    )


def _shipped(each: SetReport) -> Versus:
    """The model that would be shipped, the last one, against the base."""
    return next(v for v in each.versus if v.before == each.sides[0].model and v.after == each.sides[-1].model)


def _judge_set(given: ResultSet, options: Options) -> tuple[SetReport, list[Finding]]:
    answers: list[Answers] = []
    findings: list[Finding] = []
    for model in MODELS:
        if model in given.results:
            read, faults = read_answers(model, given.results[model], media_root=options.media_root)
            answers.append(read)
            findings += faults.findings()
    faults = Collector(where=given.name, file=" and ".join(str(each.file) for each in answers))
    judge_settings(tuple(answers), faults)
    pairs = pair(answers, faults)
    sound = not faults.failed and not any(finding.severity == "error" for finding in findings)
    gate = Gate(given.name, given.role, options.tolerance, options.examples, sound)
    report = compare_set(answers, pairs, gate, faults)
    return report, [*findings, *faults.findings()]


def _no_general() -> Finding:
    rule = rules.NO_GENERAL
    return Finding(
        rule=rule.name,
        severity=rule.severity,
        where="--set",
        saw="only the evaluation that was tuned for",
        want="a set of what must not be forgotten",
        fix=Fix(text="make a small one with tao-run prepare general, and give --set general=BASE,TUNED"),
    )
