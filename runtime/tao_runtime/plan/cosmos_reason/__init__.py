"""From the TAO dialect to the plan: every key of the spec that has an effect is read here, and only here."""

from __future__ import annotations

from collections.abc import Callable

from tao_runtime.plan.cosmos_reason.answer import plan_evaluate, plan_inference
from tao_runtime.plan.cosmos_reason.memory import fit, network_config
from tao_runtime.plan.cosmos_reason.train import plan_train
from tao_runtime.plan.model import Plan

__all__ = ["PLANNERS", "fit", "network_config"]

PLANNERS: dict[str, Callable[..., Plan]] = {
    "train": plan_train,
    "evaluate": plan_evaluate,
    "inference": plan_inference,
}
