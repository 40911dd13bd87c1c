"""The training loss of a clip at fixed noise levels, in the family's own objective, without training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tao_runtime.engine.clip_source import ClipItem, ClipSource
from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.inputs import place
from tao_runtime.engine.objectives.draw import noise_like, sample_generator
from tao_runtime.errors import RunError


@torch.no_grad()
def losses_at_levels(
    family: WetFamily,
    model: nn.Module,
    source: ClipSource,
    item: ClipItem,
    position: int,
    levels: Sequence[float],
) -> tuple[float, ...]:
    """Return the loss of a clip at each level. Its noise derives from (seed, clip, level): any weights see the same.

    Raises:
        RunError: a loss is not finite.
    """
    device = next(model.parameters()).device
    channels, frames, height, width = item.latents_CTHW.shape
    found = []
    for number, level in enumerate(levels):
        generator = sample_generator(source.seed, 1 + number, position)  # 0 draws the window and what is given
        noise_CTHW = noise_like((channels, frames, height, width), generator)
        noised = replace(item, draw=replace(item.draw, sigma=level, noise_CTHW=noise_CTHW, drop_text=False))
        batch: Any = place(source.collate([noised]), device)
        loss = float(family.loss(model, batch))
        if not math.isfinite(loss):
            raise RunError(
                f"record {item.record}: the loss at noise level {level:.3g} is {loss}. Fix: look at the weights with "
                "tao-run audit, or set model.precision to float32"
            )
        found.append(loss)
    return tuple(found)
