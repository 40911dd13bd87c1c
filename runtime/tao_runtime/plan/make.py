"""`make_plan(spec, facts)`: pure, and never raises for a wrong spec; what cannot be known stays None for preflight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, cast

from tao_runtime.data.facts import Facts
from tao_runtime.plan.memory.fit import Devices, Fit
from tao_runtime.plan.model import AnyPlan, TrainPlan
from tao_runtime.spec.base import Spec


class FamilyPlan(Protocol):
    """What the module of a family on this floor holds. It has the family's name."""

    PLANNERS: Mapping[str, Callable[..., AnyPlan]]  # by action: what turns its specs into plans
    fit: Callable[..., Fit]  # whether its training fits devices, and what would
    network_config: Callable[..., Mapping[str, object]]  # of the network that it trains, as far as it is known


def family_plan(family: str) -> FamilyPlan:
    """Return a family's module. Loaded when it is asked for: a command plans for one family of all."""
    return cast(FamilyPlan, import_module(f"tao_runtime.plan.{family}"))


def network_config(spec: Spec, facts: Facts) -> Mapping[str, object]:
    """Return the configuration of the network of a training run; empty where it is not known."""
    return family_plan(spec.family).network_config(spec, facts)


def fit_plan(spec: Spec, facts: Facts, plan: AnyPlan, devices: Devices) -> Fit | None:
    """Return whether a training plan for `devices.count` processes fits them; None for what is no training."""
    return family_plan(spec.family).fit(spec, plan, facts, devices) if isinstance(plan, TrainPlan) else None


def make_plan(spec: Spec, facts: Facts) -> AnyPlan:
    """Return the plan of a spec."""
    return family_plan(spec.family).PLANNERS[spec.action](spec, facts)
