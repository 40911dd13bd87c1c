"""`make_plan(spec, facts)`: pure, and never raises for a wrong spec; what cannot be known stays None for preflight."""

from __future__ import annotations

from collections.abc import Callable

from tao_runtime.data.facts import Facts
from tao_runtime.plan import cosmos_reason
from tao_runtime.plan.model import Plan
from tao_runtime.spec.base import Spec

# One line per family: what turns its specs into plans. An action that is missing cannot be run yet.
PLANNERS: dict[str, dict[str, Callable[..., Plan]]] = {"cosmos_reason": cosmos_reason.PLANNERS}


def make_plan(spec: Spec, facts: Facts) -> Plan | None:
    """Return the plan of a spec, or None for an action that does not exist yet."""
    planner = PLANNERS.get(spec.family, {}).get(spec.action)
    return planner(spec, facts) if planner else None
