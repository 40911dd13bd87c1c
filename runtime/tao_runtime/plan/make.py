"""`make_plan(spec, facts)`: pure, and never raises for a wrong spec; what cannot be known stays None for preflight."""

from __future__ import annotations

from collections.abc import Callable

from tao_runtime.data.facts import Facts
from tao_runtime.plan import cosmos_reason
from tao_runtime.plan.memory.fit import Devices, Fit
from tao_runtime.plan.model import Plan, TrainPlan
from tao_runtime.spec.base import Spec

# One line per family: what turns its specs into plans. An action that is missing cannot be run yet.
PLANNERS: dict[str, dict[str, Callable[..., Plan]]] = {"cosmos_reason": cosmos_reason.PLANNERS}

# One line per family that can tell whether its training fits devices, and what would.
FITTERS: dict[str, Callable[..., Fit]] = {"cosmos_reason": cosmos_reason.fit}


def fit_plan(spec: Spec, facts: Facts, plan: Plan | None, devices: Devices) -> Fit | None:
    """Return whether a training plan for `devices.count` processes fits them; None for what is no training."""
    fitter = FITTERS.get(spec.family)
    return fitter(spec, plan, facts, devices) if fitter and isinstance(plan, TrainPlan) else None


def make_plan(spec: Spec, facts: Facts) -> Plan | None:
    """Return the plan of a spec, or None for an action that does not exist yet."""
    planner = PLANNERS.get(spec.family, {}).get(spec.action)
    return planner(spec, facts) if planner else None
