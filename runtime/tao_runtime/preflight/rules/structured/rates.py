"""Frame rates of clips that go through the network together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tao_runtime.data.facts import Facts
from tao_runtime.plan.batches import record_indices
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.structured import VIDEO


@rule(
    "video/frame-rates",
    "error",
    families=VIDEO,
    actions=("train",),
    source="the Predict networks are told one frame rate for all clips of a forward pass",
)
def frame_rates(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Clips of a micro-batch have one frame rate, where it is a number of clips and not of tokens."""
    data, train = facts.datasets.get("train"), plan.data.train
    if data is None or plan.batch.micro <= 1 or plan.batch.pack_tokens is not None:
        return
    records = record_indices(data.num_records, train.exclude, train.only)
    headers = [data.media[index] for index in np.unique(data.columns.media_index[records]).tolist()]
    rates = sorted({round(header.fps, 3) for header in headers if header is not None})
    if len(rates) > 1:
        where = f"dataloader_train.{'max_samples_per_batch' if spec.packs else 'batch_size'}"
        saw = f"{plan.batch.micro} clips in a micro-batch, {len(rates)} frame rates: {rates[0]:g} to {rates[-1]:g}"
        accumulate = plan.batch.micro * plan.batch.accumulation if plan.batch.accumulation else plan.batch.micro
        patch = {where: 1, "trainer.grad_accum_iter": accumulate}
        fix = f"set it to 1, and trainer.grad_accum_iter to {accumulate}: the same global batch"
        yield Problem(where, saw, "clips of one frame rate, or one clip in each", fix, patch)
