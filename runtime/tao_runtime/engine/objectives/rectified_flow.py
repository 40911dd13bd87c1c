"""Rectified flow in sigma form with given first frames: lognormal noise, a share of very high noise, velocity error.

Values and form of nvidia-cosmos/cosmos-predict2: schedulers/rectified_flow_scheduler.py:44-48 (noise),
models/video2world_model.py:379-401 (high noise, weight), module/denoiser_scaling.py:35-65 (scaling),
pipelines/video2world.py:623-711 (given frames).

With t = sigma / (1 + sigma) the upstream cost (1 + sigma)^2 / sigma^2 (x0 - x0_hat)^2, where x0_hat = (1 - t) x - t F,
is (F - (eps - x0))^2: a plain velocity error. Given frames enter clean, cost nothing, and stay in the denominator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from tao_runtime.engine.objectives.draw import (
    Draw,
    Shape,
    condition_mask,
    frame_slice,
    noise_like,
    normal,
    per_sample,
    stacked_noise,
    uniform,
)


@dataclass(frozen=True, slots=True)
class RectifiedFlowRecipe:
    """The numbers of the objective."""

    p_mean: float = 0.0  # of log sigma
    p_std: float = 1.0
    noise_frames: int = 24  # sigma is multiplied by its square root: the latent frames of a full clip
    high_sigma_ratio: float = 0.05  # of samples that get a sigma log-uniform in high_sigma instead
    high_sigma: tuple[float, float] = (200.0, 100_000.0)
    condition_frames: tuple[int, int] = (1, 2)  # latent frames given, fewest and most; an image has none
    condition_sigma: float = 1e-4  # what the network is told about given frames
    loss_scale: float = 10.0
    text_dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class RectifiedNoised:
    """A batch as the network sees it, and what its answer is compared with."""

    input_BCTHW: torch.Tensor  # (1 - t) x, given frames clean
    timestep_B1T11: torch.Tensor  # t of each frame, in [0, 1)
    condition_B1THW: torch.Tensor  # 1 on given frames
    velocity_BCTHW: torch.Tensor  # eps - x0
    elements: int  # of one whole clip, also where this is a part of it

    def frames(self, part: int, parts: int) -> RectifiedNoised:
        """Return one part of the clip's latent frames."""
        keep = frame_slice(self.input_BCTHW.shape[2], part, parts)
        return replace(
            self,
            input_BCTHW=self.input_BCTHW[:, :, keep],
            timestep_B1T11=self.timestep_B1T11[:, :, keep],
            condition_B1THW=self.condition_B1THW[:, :, keep],
            velocity_BCTHW=self.velocity_BCTHW[:, :, keep],
        )


def draw(shape: Shape, generator: torch.Generator, recipe: RectifiedFlowRecipe) -> Draw:
    """Return the draws of one sample."""
    sigma = math.exp(recipe.p_mean + recipe.p_std * normal(generator)) * math.sqrt(recipe.noise_frames)
    is_high, where = uniform(generator) < recipe.high_sigma_ratio, uniform(generator)
    if is_high:
        low, high = (math.log(bound) for bound in recipe.high_sigma)
        sigma = math.exp(low + where * (high - low))
    fewest, most = recipe.condition_frames
    given = fewest + int(uniform(generator) * (most - fewest + 1))
    drop_text = uniform(generator) < recipe.text_dropout
    is_image = shape[1] == 1
    return Draw(sigma, noise_like(shape, generator), 0 if is_image else min(given, shape[1]), drop_text)


def noise(latents_BCTHW: torch.Tensor, draws: Sequence[Draw], recipe: RectifiedFlowRecipe) -> RectifiedNoised:
    """Return the noised batch. latents_BCTHW: normalised to unit variance; sigma_data is 1."""
    clean = latents_BCTHW.float()
    noise_BCTHW, given = stacked_noise(draws, clean), condition_mask(draws, clean)
    sigma = per_sample([each.sigma for each in draws], clean)
    t = sigma / (1 + sigma)
    # (1 - t)(x0 + sigma eps) = (1 - t) x0 + t eps, without the overflow of a sigma of 1e5.
    seen = given * clean + (1 - given) * ((1 - t) * clean + t * noise_BCTHW)
    t_given = recipe.condition_sigma / (1 + recipe.condition_sigma)
    return RectifiedNoised(
        input_BCTHW=seen,
        timestep_B1T11=given * t_given + (1 - given) * t,
        condition_B1THW=given.expand(-1, -1, -1, *clean.shape[3:]),
        velocity_BCTHW=noise_BCTHW - clean,
        elements=math.prod(clean.shape[1:]),
    )


def loss_sums(
    output_BCTHW: torch.Tensor, noised: RectifiedNoised, recipe: RectifiedFlowRecipe
) -> tuple[torch.Tensor, int]:
    """Return (numerator, samples)."""
    cost = (1 - noised.condition_B1THW) * (output_BCTHW.float() - noised.velocity_BCTHW) ** 2
    return cost.sum() * (recipe.loss_scale / noised.elements), len(output_BCTHW)
