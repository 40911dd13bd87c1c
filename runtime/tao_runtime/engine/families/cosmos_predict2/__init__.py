"""The wet half of the Predict2 family (video to world): rectified flow, network CosmosTransformer3DModel, T5."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tao_runtime.data.cosmos_predict2 import LEFT_OUT
from tao_runtime.data.cosmos_predict2 import to_library as library_name
from tao_runtime.data.cosmos_predict2 import to_original as original_name
from tao_runtime.data.facts import Facts
from tao_runtime.engine.clip_setup import clip_setup
from tao_runtime.engine.clip_source import ClipSource
from tao_runtime.engine.dit import run_dit
from tao_runtime.engine.dit_batch import Objective, open_clips, rehearse_clips
from tao_runtime.engine.dit_family import (
    BROKEN,
    EXPORT,
    NETWORKS,
    blocks,
    build,
    disturb,
    fresh_parameters,
    num_tokens,
    part_of,
    sequence_part,
    share_sequence,
    trial_arguments,
    weight,
)
from tao_runtime.engine.families import Batch
from tao_runtime.engine.objectives import rectified_flow
from tao_runtime.engine.objectives.rectified_flow import RectifiedFlowRecipe, RectifiedNoised
from tao_runtime.plan.diffusion import DiffusionPlan
from tao_runtime.plan.model import ClipsPlan, TrainPlan

if TYPE_CHECKING:
    from tao_runtime.engine.dist import World

__all__ = [
    "BROKEN",
    "EXPORT",
    "LEFT_OUT",
    "NETWORKS",
    "blocks",
    "build",
    "chance_loss",
    "disturb",
    "fresh_parameters",
    "library_name",
    "loss",
    "num_tokens",
    "open_source",
    "original_name",
    "part_of",
    "rehearse",
    "share_sequence",
    "trial_arguments",
    "weight",
]
FIELDS = ("input_BCTHW", "timestep_B1T11", "condition_B1THW", "velocity_BCTHW", "elements")


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
        condition_frames=(min(given), max(given)),  # each as often
        condition_sigma=plan.condition.sigma,
        loss_scale=noise.loss_scale,
        text_dropout=plan.condition.text_dropout,
    )


def open_source(plan: ClipsPlan, run_dir: Path, label: str, world: World) -> ClipSource:
    """Open a data set of clips. Collective."""
    setup = clip_setup(plan)
    return open_clips(setup, run_dir, label, world, objective=_objective(setup.diffusion))


def _objective(plan: DiffusionPlan) -> Objective[Any]:
    return Objective(recipe_of(plan), rectified_flow.draw, rectified_flow.noise, FIELDS)


def rehearse(plan: TrainPlan, facts: Facts) -> Batch:
    """Return a micro-batch of the plan, of zeros."""
    assert plan.diffusion is not None
    return rehearse_clips(plan, objective=_objective(plan.diffusion))


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the summed velocity error of the samples: loss_scale times the mean over each one's elements."""
    noised = RectifiedNoised(**{name: batch[name] for name in FIELDS})
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
    noised = RectifiedNoised(**{name: batch[name] for name in FIELDS})
    numerator, _ = rectified_flow.loss_sums(torch.zeros_like(noised.velocity_BCTHW), noised, batch["recipe"])
    return float(numerator) if batch["weight"] else 0.0
