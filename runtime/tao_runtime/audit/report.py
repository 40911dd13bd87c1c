"""What an audit says, for a person and for a machine: findings, and facts about each part that was looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tao_runtime.audit.codes import writable
from tao_runtime.data.fold import MAX_PER_RULE
from tao_runtime.errors import ExitCode, Finding, Frozen

_ORDER = {"error": 0, "warning": 1, "note": 2}
# Names come from files, and a file may hold half a character that nothing can write.
Text = Annotated[str, BeforeValidator(writable)]
Kind = Literal["model", "adapter", "pipeline", "checkpoint", "weights", "unknown"]


class Tower(Frozen):
    """A part of a model: the tensors whose names begin alike."""

    name: Text
    tensors: int
    parameters: int
    sha256: str | None = Field(
        default=None, description="of names, types, shapes and bytes, the same for any sharding; null: not read"
    )
    state: Literal["changed", "unchanged", "unknown"] = Field(description="against the base; unknown: no base was read")
    changed: int = Field(default=0, description="tensors that are not byte for byte the base's")


class Part(Frozen):
    """One thing that was audited: a model, an adapter, a component of a pipeline, a checkpoint."""

    path: Text = Field(description="relative to the audited path; empty for the path itself")
    kind: Kind
    model_type: Text | None = None
    tensors: int = 0
    parameters: int = 0
    bytes: int = Field(default=0, description="of the tensors, or of the files of a checkpoint")
    dtypes: dict[Text, int] = Field(default_factory=dict, description="tensors by type, most elements first")
    towers: tuple[Tower, ...] = ()
    rank: int | None = Field(default=None, description="of an adapter")
    modules: int | None = Field(default=None, description="that an adapter changes")
    ranks: int | None = Field(default=None, description="processes that wrote a checkpoint")
    committed: bool | None = Field(default=None, description="a checkpoint with a valid COMMIT")
    values_read: bool = Field(default=False, description="the bytes of the weights were looked at, not only headers")
    pickles: tuple[Text, ...] = Field(default=(), description="trainer state in pickles, not looked into")


class Probe(Frozen):
    """What came of loading a part with its library and running it once on a seeded input."""

    path: Text = Field(description="of the part")
    loaded: bool
    input: str | None = Field(default=None, description="what went in; null: not run")
    difference: float | None = Field(
        default=None,
        description="largest difference to the base's output; of an adapter: on and off; null: no base",
    )


class AuditCounts(Frozen):
    """How much was found."""

    errors: int = 0
    warnings: int = 0
    notes: int = 0


class AuditReport(Frozen):
    """All findings at once, none repeated more than 20 times per rule and file."""

    schema_version: Literal["tao-run/audit/1"] = Field(default="tao-run/audit/1", alias="schema")
    ok: bool = Field(description="no finding of severity error")
    path: Text
    base: Text | None
    findings: tuple[Finding, ...]
    counts: AuditCounts
    parts: tuple[Part, ...]
    seconds: float
    probes: tuple[Probe, ...] = Field(default=(), description="with --probe: parts that were loaded")

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.FINDINGS

    def render(self) -> str:
        """Return the text form: a line for each finding, the facts of each part, then how it stands."""
        lines = [finding.render() for finding in self.findings]
        lines += [line for part in self.parts for line in _facts(part)]
        lines += [_tried(probe) for probe in self.probes]
        counts = self.counts
        found = f"{counts.errors} errors, {counts.warnings} warnings, {counts.notes} notes"
        return "\n".join([*lines, f"{'ok' if self.ok else 'not ok'}: {self.path}, {self.seconds:.1f} s; {found}"])


def _tried(probe: Probe) -> str:
    what = "loads" if probe.loaded else "not loaded"
    what += f", answers {probe.input}" if probe.input else ", not run" if probe.loaded else ""
    what += f", {probe.difference:.3g} from the base" if probe.difference is not None else ""
    return f"{probe.path or '.'}: {what}"


def _facts(part: Part) -> list[str]:
    what = [f"{part.path or '.'}: {part.kind}"]
    if part.model_type:
        what.append(part.model_type)
    if part.rank is not None:
        what.append(f"rank {part.rank} on {part.modules} modules")
    if part.ranks is not None:
        what.append(f"written by {part.ranks} processes, {'committed' if part.committed else 'no COMMIT'}")
    what.append(f"{part.tensors:,} tensors, {part.parameters:,} parameters, {part.bytes:,} bytes")
    if part.dtypes:
        what.append(" ".join(part.dtypes))
    if part.pickles:
        what.append(f"pickles not looked into: {' '.join(part.pickles)}")
    lines = [", ".join(what)]
    for state in ("changed", "unchanged"):
        names = [
            tower.name + (f" ({tower.changed} of {tower.tensors})" if state == "changed" else "")
            for tower in part.towers
            if tower.state == state
        ]
        if names:
            lines.append(f"  {state}: {', '.join(names)}")
    unknown = [tower.name for tower in part.towers if tower.state == "unknown"]
    return [*lines, f"  towers: {', '.join(unknown)}"] if unknown else lines


def make_report(
    findings: Iterable[Finding], parts: Iterable[Part], *, path: str, base: str | None, seconds: float
) -> AuditReport:
    """Put findings in order, worst first, and cap those of one rule in one file."""
    kept = _cap(list(dict.fromkeys(findings)))
    number = Counter(finding.severity for finding in kept)
    counts = AuditCounts(errors=number["error"], warnings=number["warning"], notes=number["note"])
    return AuditReport(
        ok=not counts.errors,
        path=path,
        base=base,
        findings=kept,
        counts=counts,
        parts=tuple(parts),
        seconds=round(seconds, 3),
    )


def _cap(findings: list[Finding]) -> tuple[Finding, ...]:
    seen: Counter[tuple[str, str]] = Counter()
    kept, last = [], {}
    for finding in findings:
        key = (finding.rule, finding.where)
        seen[key] += 1
        if seen[key] <= MAX_PER_RULE:
            kept.append(finding)
        else:
            last[key] = finding
    for key, finding in last.items():
        saw = f"and {seen[key] - MAX_PER_RULE:,} more"
        kept.append(finding.model_copy(update={"saw": saw, "want": "none of them", "pointer": None, "fix": None}))
    return tuple(sorted(kept, key=lambda finding: _ORDER[finding.severity]))
