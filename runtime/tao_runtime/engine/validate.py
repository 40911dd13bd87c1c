"""Validation loss: the mean over all supervised tokens of the held-out records, whatever the batches and ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule

from tao_runtime.engine.dist import World
from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.inputs import BadSampleBudget, collated, place
from tao_runtime.engine.samples import SampleSource
from tao_runtime.plan.model import ValidationPlan


@torch.no_grad()
def validate(
    model: Any,
    family: WetFamily,
    source: SampleSource,
    *,
    plan: ValidationPlan,
    world: World,
    budget: BadSampleBudget,
) -> float:
    """Return the summed loss over the summed weight of a data set. Collective; every rank runs as many batches."""
    count = len(source.ledger)

    def positions() -> Iterator[list[int]]:
        stride = plan.batch_size * world.size
        for start in range(0, count, stride):
            yield list(range(start, min(start + stride, count)))[world.rank :: world.size]

    model.eval()
    total = torch.zeros((), dtype=torch.float64)
    batches = collated(
        family, source, positions(), budget=budget, num_threads=plan.num_workers, prefetch=plan.prefetch_factor
    )
    for batch in batches:
        total += model.training_loss(place(batch, world.device)).double().cpu()
    # Groups that stay gathered after forward would be read as they are by whatever looks at the parameters next.
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    [numerator] = world.sum([float(total)])
    model.train()
    return numerator / max(int(source.ledger.weight.sum()), 1)
