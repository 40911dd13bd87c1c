"""The EDM objective with learned uncertainty: lognormal noise, preconditioning, and one log-variance per noise level.

Karras et al. 2022 (arXiv:2206.00364, table 1) and Kendall et al. 2018 (arXiv:1705.07115), with the values of
nvidia-cosmos/cosmos-predict1: diffusion/training/modules/edm_sde.py:34-39 (noise), modules/denoiser_scaling.py:25-30
(preconditioning), models/model_image.py:231-237, 321-331, 406-414 (weight, log-variance).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from tao_runtime.engine.objectives.draw import (
    Draw,
    Shape,
    frame_slice,
    noise_like,
    normal,
    per_sample,
    stacked_noise,
    uniform,
)


@dataclass(frozen=True, slots=True)
class EdmRecipe:
    """The numbers of the objective."""

    p_mean: float = 0.0  # of log sigma
    p_std: float = 1.0
    sigma_data: float = 0.5  # standard deviation of the scaled latents
    noise_frames: int = 1  # sigma is multiplied by its square root; the 14B recipes set the latent frames
    loss_scale: float = 1.0
    text_dropout: float = 0.2


@dataclass(frozen=True, slots=True)
class EdmNoised:
    """A batch as the network sees it, and what its answer is compared with."""

    clean_BCTHW: torch.Tensor  # latents x sigma_data
    noisy_BCTHW: torch.Tensor
    input_BCTHW: torch.Tensor  # c_in noisy, of variance about 1
    timestep_B: torch.Tensor  # what the network is told about the noise: c_noise = ln(sigma) / 4
    sigma_B: torch.Tensor
    sigma_data: float
    elements: int  # of one whole clip, also where this is a part of it

    def frames(self, part: int, parts: int) -> EdmNoised:
        """Return one part of the clip's latent frames."""
        keep = frame_slice(self.clean_BCTHW.shape[2], part, parts)
        return replace(
            self,
            clean_BCTHW=self.clean_BCTHW[:, :, keep],
            noisy_BCTHW=self.noisy_BCTHW[:, :, keep],
            input_BCTHW=self.input_BCTHW[:, :, keep],
        )


def draw(shape: Shape, generator: torch.Generator, recipe: EdmRecipe) -> Draw:
    """Return the draws of one sample. Text to video: no frame is given."""
    sigma = math.exp(recipe.p_mean + recipe.p_std * normal(generator)) * math.sqrt(recipe.noise_frames)
    drop_text = uniform(generator) < recipe.text_dropout
    return Draw(sigma, noise_like(shape, generator), drop_text=drop_text)


def noise(latents_BCTHW: torch.Tensor, draws: Sequence[Draw], recipe: EdmRecipe) -> EdmNoised:
    """Return the noised batch. latents_BCTHW: normalised to unit variance."""
    clean = latents_BCTHW.float() * recipe.sigma_data
    sigma = per_sample([each.sigma for each in draws], clean)
    noisy = clean + sigma * stacked_noise(draws, clean)
    return EdmNoised(
        clean_BCTHW=clean,
        noisy_BCTHW=noisy,
        input_BCTHW=noisy / (sigma**2 + recipe.sigma_data**2).sqrt(),
        timestep_B=0.25 * sigma.flatten().log(),
        sigma_B=sigma.flatten(),
        sigma_data=recipe.sigma_data,
        elements=math.prod(clean.shape[1:]),
    )


def denoised(output_BCTHW: torch.Tensor, noised: EdmNoised) -> torch.Tensor:
    """Return the predicted clean latents: c_skip x + c_out F."""
    sigma, data = _wide(noised.sigma_B), noised.sigma_data
    total = sigma**2 + data**2
    return data**2 / total * noised.noisy_BCTHW + sigma * data / total.sqrt() * output_BCTHW.float()


def loss_sums(
    output_BCTHW: torch.Tensor, noised: EdmNoised, log_variance_B: torch.Tensor | None, recipe: EdmRecipe
) -> tuple[torch.Tensor, int]:
    """Return (numerator, samples). With a log-variance u the cost of an element is w e exp(-u) + u, which may be < 0.

    Worked number: sigma = sigma_data = 0.5 gives w = (0.25 + 0.25) / 0.25^2 = 8.
    """
    sigma, data = _wide(noised.sigma_B), noised.sigma_data
    weight = (sigma**2 + data**2) / (sigma * data) ** 2
    cost = weight * (noised.clean_BCTHW - denoised(output_BCTHW, noised)) ** 2
    if log_variance_B is not None:
        u = _wide(log_variance_B.float())
        cost = cost * (-u).exp() + u
    return cost.sum() * (recipe.loss_scale / noised.elements), len(noised.sigma_B)


class LogVariance(nn.Module):
    """The uncertainty of each noise level: Fourier features of c_noise, then a linear layer without bias.

    The features are those of EDM2 (arXiv:2312.02696): sqrt(2) cos(f x + p), of unit variance; f and p are drawn once
    and saved. Trained with the network, used by the loss only.
    """

    freqs: torch.Tensor
    phases: torch.Tensor

    def __init__(self, channels: int = 128, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.randn(channels, generator=generator))
        self.register_buffer("phases", 2 * math.pi * torch.rand(channels, generator=generator))
        self.head = nn.Linear(channels, 1, bias=False)

    def forward(self, timestep_B: torch.Tensor) -> torch.Tensor:
        """Return u [B] for c_noise [B]."""
        features_BF = (timestep_B.float()[:, None] * self.freqs + self.phases).cos() * math.sqrt(2)
        return self.head(features_BF.to(self.head.weight.dtype)).float()[:, 0]


def _wide(values_B: torch.Tensor) -> torch.Tensor:
    return values_B.view(-1, 1, 1, 1, 1)
