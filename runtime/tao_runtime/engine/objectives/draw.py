"""What chance decides about one sample: derived from (seed, step, sample), never from the state of a rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

Shape = tuple[int, int, int, int]  # C T H W of a clip's latents


@dataclass(frozen=True, slots=True)
class Draw:
    """The draws of one sample."""

    sigma: float  # noise level, in the unit of the objective
    noise_CTHW: torch.Tensor  # float32, standard normal, on the CPU
    condition_frames: int = 0  # leading latent frames that are given, not predicted
    drop_text: bool = False  # train without the caption, for guidance


def sample_generator(seed: int, step: int, sample: int) -> torch.Generator:
    """Return the source of a sample's draws: the same on any rank, world size and micro-batch.

    On the CPU, so that a draw does not depend on the device. step: 0-based optimizer step; sample: its index.
    """
    state = int(np.random.SeedSequence([seed, step, sample]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state & (2**63 - 1))


def uniform(generator: torch.Generator) -> float:
    """Return a number in [0, 1)."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def normal(generator: torch.Generator) -> float:
    """Return a standard normal number."""
    return float(torch.randn((), generator=generator, dtype=torch.float64))


def noise_like(shape: Shape, generator: torch.Generator) -> torch.Tensor:
    """Return standard normal noise [C, T, H, W], float32."""
    return torch.randn(shape, generator=generator)


def stacked_noise(draws: Sequence[Draw], latents_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return the noise of a batch where its latents are, float32."""
    return torch.stack([draw.noise_CTHW for draw in draws]).to(latents_BCTHW.device)


def per_sample(values: Sequence[float], like_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return one number per sample as [B, 1, 1, 1, 1], float32."""
    return torch.tensor(values, dtype=torch.float32, device=like_BCTHW.device).view(-1, 1, 1, 1, 1)


def condition_mask(draws: Sequence[Draw], latents_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return 1 on the given frames of each sample and 0 elsewhere: [B, 1, T, 1, 1], float32."""
    given = torch.tensor([draw.condition_frames for draw in draws], device=latents_BCTHW.device)
    frames = torch.arange(latents_BCTHW.shape[2], device=latents_BCTHW.device)
    return (frames[None] < given[:, None]).float()[:, None, :, None, None]


def frame_slice(num_frames: int, part: int, parts: int) -> slice:
    """Return the frames of one of `parts` equal parts of a clip.

    Raises:
        ValueError: the frames do not divide.
    """
    if num_frames % parts:
        raise ValueError(f"{num_frames} latent frames over {parts} context-parallel ranks; want a multiple")
    each = num_frames // parts
    return slice(part * each, (part + 1) * each)
