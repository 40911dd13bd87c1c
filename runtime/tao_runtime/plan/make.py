"""`make_plan(spec, facts)`: pure, and never raises for a wrong spec; what cannot be known stays None for preflight."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tao_runtime.data.facts import Facts
from tao_runtime.plan import cosmos3_reasoner, cosmos3_vision, cosmos_predict1, cosmos_predict2, cosmos_reason
from tao_runtime.plan.model import AnyPlan
from tao_runtime.spec.base import Spec

# One line per family: what turns its specs into plans. An action that is missing cannot be run yet.
PLANNERS: dict[str, Mapping[str, Callable[..., AnyPlan]]] = {
    "cosmos_reason": cosmos_reason.PLANNERS,
    "cosmos3_reasoner": cosmos3_reasoner.PLANNERS,
    "cosmos3_vision": cosmos3_vision.PLANNERS,
    "cosmos_predict1": cosmos_predict1.PLANNERS,
    "cosmos_predict2": cosmos_predict2.PLANNERS,
}


def make_plan(spec: Spec, facts: Facts) -> AnyPlan | None:
    """Return the plan of a spec, or None for an action that does not exist yet."""
    planner = PLANNERS.get(spec.family, {}).get(spec.action)
    return planner(spec, facts) if planner else None
