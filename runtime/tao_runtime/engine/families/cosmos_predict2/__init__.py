"""The wet half of the Predict2 family (video to world): rectified flow, network CosmosTransformer3DModel, T5."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from tao_runtime.data.cosmos_predict2 import to_original as original_name
from tao_runtime.engine.build import DTYPES
from tao_runtime.engine.clip_source import ClipFunctions, ClipItem, ClipSource, open_ledger, open_vae
from tao_runtime.engine.dit import batch_text, run_dit
from tao_runtime.engine.dit_family import (
    EXPORT,
    blocks,
    build,
    fresh_parameters,
    num_tokens,
    part_of,
    sequence_part,
    share_sequence,
    weight,
)
from tao_runtime.engine.families import Batch
from tao_runtime.engine.objectives import rectified_flow
from tao_runtime.engine.objectives.draw import Draw
from tao_runtime.engine.objectives.rectified_flow import RectifiedFlowRecipe, RectifiedNoised
from tao_runtime.engine.t5_text import open_text
from tao_runtime.plan.diffusion import DiffusionPlan
from tao_runtime.plan.model import TrainPlan

if TYPE_CHECKING:
    from tao_runtime.engine.dist import World

__all__ = [
    "EXPORT",
    "blocks",
    "build",
    "chance_loss",
    "disturb",
    "fresh_parameters",
    "loss",
    "num_tokens",
    "open_source",
    "original_name",
    "part_of",
    "share_sequence",
    "weight",
]
NOISED = ("input_BCTHW", "timestep_B1T11", "condition_B1THW", "velocity_BCTHW")


def recipe_of(plan: DiffusionPlan) -> RectifiedFlowRecipe:
    """Return the numbers of the objective."""
    noise, given = plan.noise, plan.condition.frames
    assert plan.latent_shape is not None
    return RectifiedFlowRecipe(
        p_mean=noise.mean,
        p_std=noise.std,
        noise_frames=plan.latent_shape[1] if noise.scale_by_frames else 1,
        high_sigma_ratio=noise.high_ratio,
        high_sigma=noise.high_range,
        condition_frames=(min(given), max(given)),  # as often each
        condition_sigma=plan.condition.sigma,
        loss_scale=noise.loss_scale,
        text_dropout=plan.condition.text_dropout,
    )


def open_source(plan: TrainPlan, run_dir: Path, label: str, world: World) -> ClipSource:
    """Open a data set of clips. Collective: captions are encoded once."""
    ledger = open_ledger(plan, run_dir, label)
    assert plan.diffusion is not None
    recipe = recipe_of(plan.diffusion)
    functions = ClipFunctions(
        text=open_text(plan.diffusion.text, ledger, run_dir, world).states,
        draw=partial(rectified_flow.draw, recipe=recipe),
        collate=partial(collate, plan=plan, recipe=recipe),
    )
    return ClipSource(ledger, plan, open_vae(plan, run_dir, world), functions)


def collate(items: Sequence[ClipItem], *, plan: TrainPlan, recipe: RectifiedFlowRecipe) -> Batch:
    """Return a micro-batch. No sample: one of zeros that weighs nothing, as every rank must run the network."""
    diffusion = plan.diffusion
    assert diffusion is not None and diffusion.latent_shape is not None and plan.data.clips is not None
    text = diffusion.text
    count = len(items)
    if not items:
        zero = torch.zeros(diffusion.latent_shape)
        items = [ClipItem(-1, zero, torch.zeros(0, text.width or 0), Draw(1.0, zero), 16.0)]
    draws = [item.draw for item in items]
    latents_BCTHW = torch.stack([item.latents_CTHW for item in items])
    noised = rectified_flow.noise(latents_BCTHW, draws, recipe)
    states_BSD = batch_text([item.text for item in items], draws, length=text.max_tokens or 512)
    height, width = plan.data.clips.sizes[0]
    tokens = plan.data.clips.latent.tokens(plan.data.clips.num_frames or 1, height, width)
    return {
        **{name: getattr(noised, name) for name in NOISED},
        "elements": noised.elements,
        "text_BSD": states_BSD.to(DTYPES[plan.precision.compute]),
        "fps": items[0].fps,
        "recipe": recipe,
        "weight": count,
        "num_tokens": len(items) * tokens,
    }


def _noised(batch: Batch) -> RectifiedNoised:
    return RectifiedNoised(**{name: batch[name] for name in NOISED}, elements=batch["elements"])


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the summed velocity error of the samples: 10 times the mean over each one's elements."""
    noised = _noised(batch)
    part, parts = sequence_part(model)
    if parts > 1:
        noised = noised.frames(part, parts)
    output = run_dit(
        model,
        noised.input_BCTHW,
        noised.timestep_B1T11,
        batch["text_BSD"],
        fps=batch["fps"],
        condition_B1THW=noised.condition_B1THW,
    )
    numerator, _ = rectified_flow.loss_sums(output, noised, batch["recipe"])
    return numerator if batch["weight"] else numerator * 0


def chance_loss(model: nn.Module, batch: Batch) -> float:
    """Return the numerator of a network that answers 0: about 2 x loss_scale per sample, less what is given."""
    noised = _noised(batch)
    numerator, _ = rectified_flow.loss_sums(torch.zeros_like(noised.velocity_BCTHW), noised, batch["recipe"])
    return float(numerator) if batch["weight"] else 0.0


def disturb(batch: Batch) -> Batch | None:
    """Return the batch with its latents turned around, what is asked for unchanged."""
    return {**batch, "input_BCTHW": -batch["input_BCTHW"]} if batch["weight"] else None
