"""What gap analysis says: a row of gaps.parquet, a slice, and the report. Values only; `deft/gaps.py` makes them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tao_runtime.errors import ExitCode, Finding, Frozen
from tao_runtime.score.answer import Kind
from tao_runtime.score.interval import Estimate
from tao_runtime.score.judge import ErrorType, Match


class Gap(Frozen):
    """One failure: what was asked, of which clip, what should have come and what came."""

    video_id: str
    question: str
    ground_truth: str
    id: str
    response: str | None
    parsed: str | None
    error_type: ErrorType
    f1: float


class Slice(Frozen):
    """All questions of one wording with one ground truth."""

    question: str
    ground_truth: str
    n: int
    failures: int
    error_rate: Estimate


class GapReport(Frozen):
    """What gap analysis found. `gaps` is null where no file was written."""

    schema_version: Literal["tao-run/gaps/1"] = Field(default="tao-run/gaps/1", alias="schema")
    ok: bool = Field(description="no finding of severity error")
    results: str
    results_sha256: str | None = None
    annotations: str
    annotations_sha256: str | None = None
    media_root: str
    gaps: str | None
    kind: Kind | None = None
    match: Match
    counts: dict[str, int] = Field(
        default_factory=dict,
        description="annotations, rows, judged annotations, failures, written failures, failures by error type",
    )
    error_rate: Estimate = Estimate()
    slices: tuple[Slice, ...] = Field(default=(), description="worst first, by the lower end of the interval")
    num_slices: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.FINDINGS
