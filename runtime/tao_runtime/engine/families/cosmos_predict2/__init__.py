"""The wet half of the Predict2 family (video to world): rectified flow, network CosmosTransformer3DModel, T5."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from tao_runtime.data import cosmos_predict2 as dry
from tao_runtime.engine.dit import run_dit
from tao_runtime.engine.dit_batch import Objective
from tao_runtime.engine.dit_family import DitFamily, sequence_part
from tao_runtime.engine.families import Batch, ClipFamily
from tao_runtime.engine.objectives import rectified_flow
from tao_runtime.engine.objectives.rectified_flow import RectifiedFlowRecipe, RectifiedNoised
from tao_runtime.plan.diffusion import DiffusionPlan

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


class CosmosPredict2(DitFamily):
    """Video to world: leading frames may be given."""

    LEFT_OUT = dry.LEFT_OUT

    def original_name(self, parameter: str) -> str:
        """Return the name that a parameter has in upstream's code."""
        return dry.to_original(parameter)

    def library_name(self, original: str) -> str:
        """Return the library's name of one of upstream's tensors."""
        return dry.to_library(original)

    def objective(self, plan: DiffusionPlan) -> Objective[Any]:
        """Return how noise is drawn and added."""
        return Objective(recipe_of(plan), rectified_flow.draw, rectified_flow.noise, FIELDS)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
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

    def chance_loss(self, model: nn.Module, batch: Batch) -> float:
        """Return the numerator of a network that answers 0: about 2 x loss_scale per sample, less what is given."""
        noised = RectifiedNoised(**{name: batch[name] for name in FIELDS})
        numerator, _ = rectified_flow.loss_sums(torch.zeros_like(noised.velocity_BCTHW), noised, batch["recipe"])
        return float(numerator) if batch["weight"] else 0.0


FAMILY: Final[ClipFamily] = CosmosPredict2()
