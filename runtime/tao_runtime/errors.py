"""Findings (failures that users cause, as values), the exceptions for the rest, and the exit codes."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Severity = Literal["error", "warning", "note"]


class ExitCode(IntEnum):
    """What a process exit means to a script or an agent."""

    DONE = 0  # done, nothing wrong
    FINDINGS = 1  # findings of severity error
    INPUT = 2  # the input cannot be read: usage, syntax, a missing file
    FAILED = 3  # the run failed
    STOPPED = 4  # stopped on request, resumable


class Frozen(BaseModel):
    """Base of every value that is written to disk: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


class Fix(Frozen):
    """What to do about a finding: a sentence, and what a machine can apply where there is such a thing."""

    text: str
    patch: dict[str, JsonValue] | None = Field(
        default=None,
        description="overrides of the spec; or of a record: paths such as conversations/1/value, null removes",
    )


class Finding(Frozen):
    """One thing that is wrong, unwise or without effect: where, saw, want, fix."""

    rule: str = Field(description="family-or-subject/name-of-rule, for example cosmos_reason/batch-divides")
    severity: Severity
    where: str = Field(description="the spec key, or the file, that the user can change")
    saw: str
    want: str
    fix: Fix | None = None
    record: int | None = Field(default=None, description="0-based index of the record in the annotation file")
    file: str | None = None
    pointer: str | None = Field(default=None, description="JSON pointer in the record, or line:column in a spec")

    def render(self) -> str:
        """Return the one-line text form that every command prints."""
        place = self.where
        if self.file is not None and self.file != self.where:
            place += f" ({self.file}"
            place += f" record {self.record}" if self.record is not None else ""
            place += f" {self.pointer}" if self.pointer else ""
            place += ")"
        elif self.record is not None:
            place += f" record {self.record}" + (f" {self.pointer}" if self.pointer else "")
        elif self.pointer:
            place += f" {self.pointer}"
        text = f"{self.severity}[{self.rule}] {place}: {self.saw}; want {self.want}."
        return text + (f" Fix: {self.fix.text}" if self.fix else "")


class TaoError(Exception):
    """Base of everything this package raises on purpose. `exit_code` is what the process ends with."""

    exit_code = ExitCode.FAILED


class InputError(TaoError):
    """Something cannot be read at all: a missing file, broken syntax, wrong usage."""

    exit_code = ExitCode.INPUT


class FindingsError(TaoError):
    """The input was read and is wrong; carries every finding, not the first."""

    exit_code = ExitCode.FINDINGS

    def __init__(self, findings: Iterable[Finding], *, family: str = "unknown", action: str = "unknown") -> None:
        self.findings = tuple(findings)
        self.family = family
        self.action = action
        super().__init__("\n".join(finding.render() for finding in self.findings))


class RunError(TaoError):
    """The run failed after it started; says what is kept and how to go on."""

    exit_code = ExitCode.FAILED


class StoppedError(TaoError):
    """Stopped on request (a signal); everything committed is kept and the run can be resumed."""

    exit_code = ExitCode.STOPPED
