"""`make_plan(spec, facts)`: pure, and never raises for a wrong spec; what cannot be known stays None for preflight."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tao_runtime.data.facts import Facts
from tao_runtime.plan import cosmos3_reasoner, cosmos3_vision, cosmos_predict1, cosmos_predict2, cosmos_reason
from tao_runtime.plan.memory.fit import Devices, Fit
from tao_runtime.plan.model import AnyPlan, TrainPlan
from tao_runtime.spec.base import Spec

# One line per family: what turns its specs into plans. An action that is missing cannot be run yet.
PLANNERS: dict[str, Mapping[str, Callable[..., AnyPlan]]] = {
    "cosmos_reason": cosmos_reason.PLANNERS,
    "cosmos3_reasoner": cosmos3_reasoner.PLANNERS,
    "cosmos3_vision": cosmos3_vision.PLANNERS,
    "cosmos_predict1": cosmos_predict1.PLANNERS,
    "cosmos_predict2": cosmos_predict2.PLANNERS,
}

# One line per family that can tell whether its training fits devices, and what would.
FITTERS: dict[str, Callable[..., Fit]] = {
    "cosmos_reason": cosmos_reason.fit,
    "cosmos3_reasoner": cosmos3_reasoner.fit,
    "cosmos3_vision": cosmos3_vision.fit,
    "cosmos_predict1": cosmos_predict1.fit,
    "cosmos_predict2": cosmos_predict2.fit,
}

# One line per family: the configuration of the network that it trains, as far as it is known.
CONFIGURATIONS: dict[str, Callable[..., Mapping[str, object]]] = {
    "cosmos_reason": cosmos_reason.network_config,
    "cosmos3_reasoner": cosmos3_reasoner.network_config,
    "cosmos3_vision": cosmos3_vision.network_config,
    "cosmos_predict1": cosmos_predict1.network_config,
    "cosmos_predict2": cosmos_predict2.network_config,
}


def network_config(spec: Spec, facts: Facts) -> Mapping[str, object]:
    """Return the configuration of the network of a training run; empty where it is not known."""
    return CONFIGURATIONS[spec.family](spec, facts)


def fit_plan(spec: Spec, facts: Facts, plan: AnyPlan | None, devices: Devices) -> Fit | None:
    """Return whether a training plan for `devices.count` processes fits them; None for what is no training."""
    fitter = FITTERS.get(spec.family)
    return fitter(spec, plan, facts, devices) if fitter and isinstance(plan, TrainPlan) else None


def make_plan(spec: Spec, facts: Facts) -> AnyPlan | None:
    """Return the plan of a spec, or None for an action that does not exist yet."""
    planner = PLANNERS.get(spec.family, {}).get(spec.action)
    return planner(spec, facts) if planner else None
