"""The arithmetic of a run whose number of steps is given: how often it visits its data, and when it saves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tao_runtime.data.facts import Facts
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.structured import STRUCTURED

MANY: Final = 100  # passes; upstream's own recipes make up to about 160 over their sample data
VERY_MANY: Final = 1000
FEW: Final = 50  # steps: a shorter run is over before it can be lost
MEANT: Final = 20  # passes that are proposed
STEPS: Final = "trainer.max_iter"


@rule(
    "structured/repeats",
    "note",
    families=STRUCTURED,
    actions=("train",),
    source="the number of steps is given, not of epochs: a default of thousands of them learns a small set by heart",
)
def repeats(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """A run does not visit each sample hundreds of times unless that is meant."""
    passes, total, records = plan.steps.passes, plan.steps.total, plan.data.train.num_records
    if passes is None or total is None or records is None or passes <= MANY:
        return
    few = max(1, round(total * MEANT / passes))
    yield Problem(
        STEPS,
        f"{total:,} steps visit each of {records:,} samples about {passes:,.0f} times",
        f"at most {MANY} times, if no more is meant",
        f"{few:,} steps are {MEANT} passes",  # no patch: how long a run shall be is for its owner
        severity="warning" if passes > VERY_MANY else None,
    )


@rule(
    "structured/step-repeats",
    "warning",
    families=STRUCTURED,
    actions=("train",),
    source="packs are filled whatever there is: a step of more samples than there are sees each several times",
)
def step_repeats(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """A step does not take the same sample twice."""
    samples, records = plan.steps.samples, plan.data.train.num_records
    if plan.batch.pack_tokens is None or samples is None or not records or samples <= records:
        return
    packs = f"{plan.batch.accumulation} x {plan.batch.data_parallel} packs of {plan.batch.pack_tokens:,} tokens"
    yield Problem(
        "trainer.grad_accum_iter",
        f"a step of {packs} takes about {samples:,.0f} samples of {records:,}: each {samples / records:.1f} times",
        "fewer samples in a step than there are",
        "use fewer processes, fewer or smaller packs, or more data",
    )


@rule(
    "structured/dropped-records",
    "note",
    families=STRUCTURED,
    actions=("train",),
    source="a run that says it trained on all of its data should have",
)
def dropped_records(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Every pass visits every sample."""
    dropped, records = plan.steps.dropped_per_epoch, plan.data.train.num_records
    if dropped and plan.steps.per_epoch:
        saw = f"{dropped:,} of {records:,} samples do not fill a global batch of {plan.batch.global_batch}"
        want = f"a multiple of {plan.batch.global_batch}"
        yield Problem(STEPS, f"{saw} and are left out, others in each pass", want)


@rule(
    "structured/save-interval",
    "note",
    families=STRUCTURED,
    actions=("train",),
    source="a run that ends early has nothing to go on from",
)
def save_interval(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """A run saves before its end."""
    every, total = plan.checkpoint.every_steps, plan.steps.total
    if every and total and every > total >= FEW:
        better, where = max(1, total // 4), "checkpoint.save_iter"
        saw = f"every {every:,} steps, and the run has {total:,}: nothing is kept before its end"
        yield Problem(where, saw, f"at most {total:,}", f"set it to {better}", {where: better})
