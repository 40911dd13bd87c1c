"""Flow matching on clips of any size: one noise level per clip, shifted by resolution, with given first frames.

Values and form of NVIDIA/cosmos-framework: model/generator/diffusion/rectified_flow.py:14, 54-57, 88-90, 176-211
(time, shift, interpolation), algorithm/loss/flow_matching.py:69-108 (cost), sft_dataset.py:348-359 (given frames).

x_t = sigma eps + (1 - sigma) x0 with target eps - x0. Given frames enter clean and cost nothing, and stay in the mean's
denominator. Samples of one step may differ in shape: the mean is over each sample's elements, then over samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from tao_runtime.engine.objectives.draw import Draw, Shape, condition_mask, noise_like, normal, uniform
from tao_runtime.plan.noise import shifted, waver_time

Distribution = Literal["waver", "logitnormal"]


@dataclass(frozen=True, slots=True)
class FlowRecipe:
    """The numbers of the objective."""

    distribution: Distribution = "waver"  # of the time of videos; images take logitnormal
    shift: float = 3.0  # by resolution: 256 -> 3, 480 -> 5, 720 -> 10
    condition_shares: tuple[float, ...] = (0.7, 0.2, 0.1)  # of samples with 0, 1, 2, ... latent frames given
    caption_dropout: float = 0.1
    loss_scale: float = 1.0
    num_train_timesteps: int = 1000  # the network is told sigma x this


@dataclass(frozen=True, slots=True)
class FlowNoised:
    """One sample as the network sees it, and what its answer is compared with."""

    input_CTHW: torch.Tensor  # given frames clean
    velocity_CTHW: torch.Tensor  # eps - x0
    mask_1T11: torch.Tensor  # 0 on given frames
    timestep: float  # of the noisy frames
    condition_frames: int


def draw(shape: Shape, generator: torch.Generator, recipe: FlowRecipe) -> Draw:
    """Return the draws of one sample. At least one frame is left to predict."""
    is_image = shape[1] == 1
    if is_image or recipe.distribution == "logitnormal":
        time = 1 / (1 + math.exp(-normal(generator)))
    else:
        time = waver_time(uniform(generator))
    given = min(pick(uniform(generator), recipe.condition_shares), shape[1] - 1)
    drop_text = uniform(generator) < recipe.caption_dropout
    return Draw(shifted(time, recipe.shift), noise_like(shape, generator), given, drop_text)


def pick(u: float, shares: Sequence[float]) -> int:
    """Return the index whose share of [0, sum) holds u x sum."""
    left = u * sum(shares)
    for index, share in enumerate(shares):
        left -= share
        if left < 0:
            return index
    return len(shares) - 1


def noise(latents_CTHW: torch.Tensor, drawn: Draw, recipe: FlowRecipe) -> FlowNoised:
    """Return the noised sample. latents_CTHW: normalised to unit variance."""
    clean, sigma = latents_CTHW.float(), drawn.sigma
    noise_CTHW = drawn.noise_CTHW.to(clean.device)
    mask = 1 - condition_mask([drawn], clean[None])[0]
    seen = mask * (sigma * noise_CTHW + (1 - sigma) * clean) + (1 - mask) * clean
    return FlowNoised(
        seen, noise_CTHW - clean, mask, sigma * recipe.num_train_timesteps, condition_frames=drawn.condition_frames
    )


def loss_sums(
    outputs: Sequence[torch.Tensor], noised: Sequence[FlowNoised], recipe: FlowRecipe
) -> tuple[torch.Tensor, int]:
    """Return (numerator, samples). outputs: the network's velocity [C, T, H, W] of each sample."""
    total = torch.zeros((), dtype=torch.float32, device=noised[0].input_CTHW.device)
    for output_CTHW, sample in zip(outputs, noised, strict=True):
        total = total + (sample.mask_1T11 * (output_CTHW.float() - sample.velocity_CTHW) ** 2).mean()
    return total * recipe.loss_scale, len(noised)
