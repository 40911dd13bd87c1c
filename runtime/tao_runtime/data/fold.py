"""Rules about records: what a rule is, the fold that applies it in one pass, the collector of findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from pydantic import JsonValue

from tao_runtime.errors import Finding, Fix, Severity

MAX_PER_RULE: Final = 20  # of the findings of one rule in one file; the rest is counted


@dataclass(frozen=True, slots=True)
class RuleInfo:
    """What a reader should know of a rule."""

    name: str
    severity: Severity
    doc: str
    source: str  # where the rule comes from
    families: tuple[str, ...] = ()  # empty: all
    actions: tuple[str, ...] = ()  # empty: all


DATA_RULES: Final[dict[str, RuleInfo]] = {}


def declare(name: str, severity: Severity, doc: str, *, source: str) -> RuleInfo:
    """Enter a rule that is judged while the data is read; preflight lists it beside its own."""
    info = RuleInfo(name, severity, doc, source)
    DATA_RULES[name] = info
    return info


@dataclass(frozen=True, slots=True)
class At:
    """Where in the data something was seen."""

    record: int | None = None
    pointer: str | None = None
    file: str | None = None


Listener = Callable[[RuleInfo, str, At, dict[str, JsonValue] | None], None]  # rule, what was seen, where, record patch


class Collector:
    """Takes findings about one file; keeps the first 20 of a rule and counts the rest."""

    def __init__(self, *, where: str, file: str, listen: Listener | None = None) -> None:
        self.where, self.file = where, file
        self.listen = listen  # is told of every finding, also of those beyond the 20
        self.counts: Counter[str] = Counter()
        self.failed = False  # an error since the caller last set this to False: the record is not usable
        self._kept: list[Finding] = []
        self._last: dict[str, RuleInfo] = {}

    def add(
        self,
        rule: RuleInfo,
        saw: str,
        want: str,
        *,
        at: At,
        fix: str | None = None,
        patch: Mapping[str, JsonValue] | None = None,
    ) -> None:
        self.failed = self.failed or rule.severity == "error"
        if self.listen is not None:
            self.listen(rule, saw, at, dict(patch) if patch else None)
        self.counts[rule.name] += 1
        if self.counts[rule.name] > MAX_PER_RULE:
            self._last[rule.name] = rule
            return
        advice = Fix(text=fix, patch=dict(patch) if patch else None) if fix else None
        self._kept.append(
            Finding(
                rule=rule.name,
                severity=rule.severity,
                where=self.where,
                saw=saw,
                want=want,
                fix=advice,
                record=at.record,
                file=at.file or self.file,
                pointer=at.pointer,
            )
        )

    def findings(self) -> tuple[Finding, ...]:
        """All that was kept, and one count for each rule that found more."""
        more = (
            Finding(
                rule=name,
                severity=rule.severity,
                where=self.where,
                file=self.file,
                saw=f"and {self.counts[name] - MAX_PER_RULE:,} more",
                want="none of them",
            )
            for name, rule in self._last.items()
        )
        return (*self._kept, *more)


class Fold(Protocol):
    """Sees every record that is an object, once, in file order. Made anew for each file."""

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None: ...

    def finish(self, findings: Collector) -> None: ...


def quote(value: object) -> str:
    """Show a JSON value in a message: short, on one line, printable."""
    text = {True: "true", False: "false", None: "null"}.get(value) if isinstance(value, bool | None) else None
    text = text or (
        ascii(value).replace("'", '"') if isinstance(value, str) and not value.isprintable() else repr(value)
    )
    return text if len(text) <= 60 else text[:57] + "..."
