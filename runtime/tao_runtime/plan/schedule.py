"""The learning-rate factor of a step: linear warm-up, then decay to a floor."""

from __future__ import annotations

import math

from tao_runtime.plan.model import SchedulePlan


def lr_factor(plan: SchedulePlan, step: int) -> float:
    """Return the factor on the base learning rate for optimizer step `step` (from 0).

    Warm-up reaches 1 at its last step: 10 warm-up steps give 0.1 at step 0. Decay runs over the rest; its first step
    has factor 1 and the step after the last would have `min_factor`. sqrt follows 1 - sqrt(progress).
    """
    warmup, total = plan.warmup_steps or 0, plan.total_steps or 0
    start = warmup if plan.decay_steps is None else max(warmup, total - plan.decay_steps)
    if step < warmup:
        return (step + 1) / warmup
    if plan.decay == "none" or step < start or total <= start:
        return 1.0
    progress = min(1.0, (step - start) / (total - start))
    shape = {
        "linear": 1.0 - progress,
        "sqrt": 1.0 - math.sqrt(progress),
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
    }[plan.decay]
    return plan.min_factor + (1.0 - plan.min_factor) * shape
