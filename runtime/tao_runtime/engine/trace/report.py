"""What was estimated beside what was traced, and the estimate made again from what was traced."""

from __future__ import annotations

from collections.abc import Mapping

from tao_runtime.data.facts import Facts
from tao_runtime.engine.trace.step import trace_step
from tao_runtime.errors import RunError
from tao_runtime.plan.costs import MemoryPlan, Range
from tao_runtime.plan.memory.estimate import CONTEXT, FRAGMENTED, NOTHING, TRAFFIC
from tao_runtime.plan.memory.missing import wanted
from tao_runtime.plan.memory.traced import TraceReport
from tao_runtime.plan.model import TrainPlan


def trace_report(plan: TrainPlan, facts: Facts, config: Mapping[str, object] | None, *, limit_s: float) -> TraceReport:
    """Trace a plan, and return it beside the estimate.

    Raises:
        RunError: nothing to compare with: the network or its tokens are not known; or the trace took too long.
    """
    memory = plan.estimate.memory
    if memory is None or not config:
        raise RunError(f"the plan has no estimate of memory: want {wanted(plan, config or {})}")
    traced = trace_step(plan, facts, config, limit_s=limit_s)
    tokenizer, several = memory.tokenizer or NOTHING, plan.mesh.world > 1
    ends = tokenizer.low, tokenizer.expected, tokenizer.high
    beside = [CONTEXT[place] + TRAFFIC[place] * several + ends[place] for place in range(3)]
    moving = traced.peak - traced.resident
    low, expected, high = (traced.resident + moving * (1 + FRAGMENTED[place]) + beside[place] for place in range(3))
    return TraceReport(
        resident_estimated=_resident(memory),
        resident_traced=traced.resident,
        peak_estimated=memory.peak,
        peak_traced=traced.peak,
        total=Range(low=low, expected=expected, high=high),
        seconds=round(traced.seconds, 1),
    )


def _resident(memory: MemoryPlan) -> int:
    return memory.weights + memory.optimizer + memory.averages
