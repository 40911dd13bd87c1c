"""Validation loss: the mean over all that the held-out records weigh, whatever the batches and ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule

from tao_runtime.engine.dist import World
from tao_runtime.engine.inputs import BadSampleBudget, MicroBatch, collated, placed
from tao_runtime.engine.source import VALIDATION_STEP, Request, Source
from tao_runtime.engine.stop import StopRequest
from tao_runtime.plan.model import ValidationPlan


def batches_of(source: Source, plan: ValidationPlan, world: World, budget: BadSampleBudget) -> Iterator[MicroBatch]:
    """Yield this rank's micro-batches of a data set; every rank gets as many, some of them empty."""
    count = len(source.ledger)

    def requests() -> Iterator[Request]:
        stride = plan.batch_size * world.data_size
        for start in range(0, count, stride):
            mine = range(start, min(start + stride, count))[world.data_rank :: world.data_size]
            yield Request(VALIDATION_STEP, mine)

    return placed(collated(source, requests(), budget=budget, loading=plan.loading), world.device)


@torch.no_grad()
def validate(
    model: Any, batches: Iterator[MicroBatch], *, weight: int, world: World, stop: StopRequest
) -> float | None:
    """Return the summed loss over `weight`, that of the whole data set; None if the run is asked to stop meanwhile.

    Collective; every rank asks after each batch whether to stop.
    """
    model.eval()
    total, lost, stopped = torch.zeros((), dtype=torch.float64), 0, False
    for micro in batches:
        total += model.training_loss(micro.batch).double().cpu()
        lost += micro.lost
        if stopped := stop.agreed():
            break
    # Groups that stay gathered after forward would be read as they are by whatever looks at the parameters next.
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    model.train()
    if stopped:
        return None
    numerator, lost_everywhere = world.sum([float(total), float(lost) / world.cp])
    return numerator / max(weight - round(lost_everywhere), 1)
