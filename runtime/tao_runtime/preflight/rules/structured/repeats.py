"""How often a record is visited where a spec gives steps and not epochs, and whether one step sees it twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tao_runtime.data.clips import Clip
from tao_runtime.data.facts import Facts
from tao_runtime.plan.batches import best_fit, record_indices
from tao_runtime.plan.clip_data import samples_of
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.structured import STRUCTURED, VIDEO

MAX_VISITS: Final = 1000  # a set that is visited so often is learned by heart


def sample_tokens(facts: Facts, plan: TrainPlan) -> npt.NDArray[np.int64] | None:
    """Return the tokens of every sample of an epoch of clips; None where nothing is known of them."""
    data, rules = facts.datasets.get("train"), plan.data.clips
    if data is None or rules is None:
        return None
    records = record_indices(data.num_records, plan.data.train.exclude, plan.data.train.only).tolist()
    longest = [
        max((one.tokens for one in samples_of(data, record, rules) if isinstance(one, Clip)), default=0)
        for record in records
    ]
    return np.array([tokens for tokens in longest if tokens], np.int64)


def packs_of(facts: Facts, plan: TrainPlan, wanted: int) -> int | None:
    """Return the micro-batches that an epoch fills; at least `wanted` where it is that many or more."""
    batch, tokens = plan.batch, sample_tokens(facts, plan)
    if batch.pack_tokens is None or tokens is None or not len(tokens):
        return None
    least = max(int(tokens.sum()) // batch.pack_tokens, len(tokens) // batch.max_samples if batch.max_samples else 0)
    if least >= wanted:
        return least
    return len(best_fit(tokens, capacity_tokens=batch.pack_tokens, max_samples=batch.max_samples))


@rule(
    "structured/repeats",
    "warning",
    families=STRUCTURED,
    actions=("train",),
    source="steps say nothing of the size of a set: 2,000 of upstream's own on 6 clips are hundreds of epochs",
)
def repeats(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """A record is visited at most 1,000 times."""
    batch, records, steps = plan.batch, plan.data.train.num_records, plan.steps.total
    if not records or not steps or not batch.data_parallel:
        return
    size = batch.global_batch or (batch.accumulation or 1) * batch.data_parallel
    there = records if batch.global_batch else packs_of(facts, plan, size)
    if there and (visits := steps * size / there) > MAX_VISITS:
        what = f"{there:,} records" if batch.global_batch else f"{there:,} packs of {records:,} records"
        most = max(1, MAX_VISITS * there // size)
        saw = f"{steps:,} steps of {size:,}, and {what}: each is visited {visits:,.0f} times"
        yield Problem("trainer.max_iter", saw, f"at most {most:,} steps, or more data", "take fewer steps, or add data")


@rule(
    "video/step-repeats",
    "warning",
    families=VIDEO,
    actions=("train",),
    source="where a batch is a number of samples, such a set is refused; packs are filled with the same data again",
)
def step_repeats(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """One optimizer step does not see a clip twice: an epoch fills all of its packs."""
    batch = plan.batch
    size = (batch.accumulation or 1) * (batch.data_parallel or 1)
    packs = packs_of(facts, plan, size)
    if packs is not None and packs < size:
        saw = (
            f"{size} packs in a step, and all clips fill {packs}: a step sees the same clips {-(-size // packs)} times"
        )
        yield Problem(
            "trainer.grad_accum_iter", saw, f"at most {packs} packs", "use fewer processes, or give more clips"
        )
