"""What a plan lacks for an estimate of its memory, in words: only that, so that nobody looks for what is there."""

from __future__ import annotations

from collections.abc import Mapping

from tao_runtime.plan.chat_costs import MOST_TOKENS
from tao_runtime.plan.model import TrainPlan


def wanted(plan: TrainPlan, config: Mapping[str, object]) -> str:
    """Return what is wanted of a plan that has no estimate of memory. `config`: of the network; empty: not known."""
    missing = []
    if not plan.batch.data_parallel:
        missing.append(f"degrees whose product is {plan.mesh.world}")
    if not config:
        missing.append("a base on this machine (a folder with its config.json is enough)")
    if plan.estimate.max_tokens is None and plan.model.max_length >= MOST_TOKENS:
        missing.append("records, or a limit on the tokens of a sample")
    return ", and ".join(missing) or f"a base whose config.json is that of a network of {plan.family}, no adapter"
