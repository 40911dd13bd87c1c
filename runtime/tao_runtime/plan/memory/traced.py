"""What was estimated of a run's memory beside what tracing a step of it saw."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tao_runtime.errors import Frozen
from tao_runtime.plan.model import Range


class TraceReport(Frozen):
    """Bytes of one rank."""

    schema_version: Literal["tao-run/trace/1"] = Field(default="tao-run/trace/1", alias="schema")
    resident_estimated: int = Field(description="weights, moments and averages")
    resident_traced: int
    peak_estimated: int = Field(description="with all that comes and goes, as the planner counts it")
    peak_traced: int
    total: Range = Field(description="of a rank, from what was traced: driver, allocator and tokenizer included")
    seconds: float = Field(description="that the trace took")
