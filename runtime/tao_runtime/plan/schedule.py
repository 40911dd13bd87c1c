"""The learning-rate factor of a step: linear warm-up, then decay to a floor; or cycles of these."""

from __future__ import annotations

import math

from tao_runtime.plan.model import SchedulePlan


def lr_factor(plan: SchedulePlan, step: int) -> float:
    """Return the factor on the base learning rate for optimizer step `step` (from 0).

    Warm-up reaches 1 at its last step: 10 warm-up steps give 0.1 at step 0. Decay runs over the rest; its first step
    has factor 1 and the step after the last would have `min_factor`. sqrt follows 1 - sqrt(progress).
    """
    if plan.cycles:
        return cycle_factor(plan, step)
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


def cycle_factor(plan: SchedulePlan, step: int) -> float:
    """Return the factor of a plan with cycles, for any step from 0.

    Warm-up starts at `start` and reaches `peak` after `warmup` steps; the fall ends at `floor` when the cycle does, and
    the rate stays there after the last one (upstream's scheduler has no answer there: `lr_scheduler.py:117-122`). A
    boundary belongs to the cycle that ends, as upstream: cycles of 10 and 5 have step 10 on the first one's floor.
    """
    cycle, offset = plan.cycles[0], step
    for cycle in plan.cycles:
        if offset <= cycle.length:
            break
        offset -= cycle.length
    else:
        offset = cycle.length
    if offset < cycle.warmup:
        return cycle.start + (cycle.peak - cycle.start) * offset / cycle.warmup
    if plan.decay == "none":
        return cycle.peak
    if offset >= cycle.length:  # also where warm-up is as long as the cycle, which upstream divides by
        return cycle.floor if cycle.length > cycle.warmup else cycle.peak
    progress = (offset - cycle.warmup) / (cycle.length - cycle.warmup)
    shape = 1.0 - progress if plan.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return cycle.floor + (cycle.peak - cycle.floor) * shape
