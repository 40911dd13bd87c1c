"""A micro-batch of conversations as large as a plan's largest, of zeros."""

from __future__ import annotations

import torch

from tao_runtime.data.facts import Facts, ModelFacts
from tao_runtime.data.vision import MediaLayout
from tao_runtime.engine.chat_batch import collate
from tao_runtime.engine.families import Batch
from tao_runtime.engine.samples import Item
from tao_runtime.errors import RunError
from tao_runtime.plan.chat_costs import find_loads
from tao_runtime.plan.model import TrainPlan

SIDE = 14  # tokens of a frame's side, 448 pixels
EXPECTED = 1


def rehearse_chat(plan: TrainPlan, facts: Facts, model: ModelFacts | None) -> Batch:
    """Return one sample of as many tokens as the planner expects in a micro-batch.

    Raises:
        RunError: nothing says how long a sample is.
    """
    loads = find_loads(plan, facts, model, plan.data.sampling) if model is not None else None
    if model is None or loads is None:
        raise RunError("neither records nor a limit say how many tokens a sample has: nothing to trace")
    load, geometry = loads[EXPECTED], model.geometry
    steps = load.visual // SIDE**2
    visual = torch.zeros(load.tokens, dtype=torch.bool)
    supervised = torch.arange(load.tokens) >= load.tokens - max(1, load.supervised)
    if not steps:
        return collate([Item(0, torch.zeros(load.tokens, dtype=torch.long), supervised, visual, (), ())], geometry)
    grid = (steps, SIDE * geometry.merge_size, SIDE * geometry.merge_size)
    side, frames = SIDE * geometry.merge_size * geometry.patch_size, steps * geometry.temporal_patch_size
    layout = MediaLayout("video", tuple(range(frames)), side, side, grid, SIDE**2, (0.0,) * steps)
    visual[: steps * SIDE**2] = True
    pixels = torch.zeros(frames, 3, side, side, dtype=torch.uint8)
    ids = torch.zeros(load.tokens, dtype=torch.long)
    return collate([Item(0, ids, supervised, visual, (pixels,), (layout,))], geometry)
