"""What a diffusion run needs beyond any other: noise, conditioning, text, averaged weights, recomputation, cycles."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tao_runtime.errors import Frozen


class NoisePlan(Frozen):
    """How the noise level of a sample is drawn, what the network is asked for, and what counts.

    edm: x = x0 + sigma eps, preconditioned, weight (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 (Karras 2022).
    rectified_flow: x = (1 - t) x0 + t eps, target eps - x0; t = sigma / (1 + sigma) where sigma is drawn.
    """

    objective: Literal["edm", "rectified_flow"]
    draw: Literal["lognormal", "waver"] = Field(
        description="lognormal: log sigma ~ N(mean, std); waver: t = 1 - u - 1.29 (cos^2(pi u / 2) - 1 + u), u uniform"
    )
    mean: float = 0.0
    std: float = 1.0
    sigma_data: float = 1.0
    sigma_min: float | None = None
    sigma_max: float | None = None
    shift: float = Field(default=1.0, description="t becomes shift t / (1 + (shift - 1) t)")
    scale_by_frames: bool = Field(default=False, description="sigma times the root of the number of latent frames")
    high_ratio: float = Field(default=0.0, description="share of samples whose sigma is log-uniform in high_range")
    high_range: tuple[float, float] = (200.0, 100_000.0)
    loss_scale: float = 1.0
    learned_variance: bool = Field(default=False, description="loss exp(-u) + u with u learned from the noise level")
    timestep_scale: float = Field(default=1.0, description="the network is told timestep_scale x t (or ln sigma / 4)")


class ConditionPlan(Frozen):
    """What of the clip the network is given clean."""

    frames: dict[int, float] = Field(description="number of leading latent frames -> probability; the sum is 1")
    sigma: float = Field(default=0.0, description="noise level that the network is told of these frames")
    mask_channel: bool = Field(default=False, description="a further input channel says which frames are given")
    text_dropout: float = Field(description="share of samples whose text is left out")


class TextPlan(Frozen):
    """How the caption reaches the network."""

    kind: Literal["joint", "t5"] = Field(description="joint: its tokens are part of the sequence; t5: embedded before")
    max_tokens: int | None
    width: int | None = Field(default=None, description="numbers per embedded token")
    encoder: str | None = Field(default=None, description="weights that embed captions without a precomputed file")


class DiffusionPlan(Frozen):
    noise: NoisePlan
    condition: ConditionPlan
    text: TextPlan
    tokenizer: str = Field(description="weights of the video tokenizer")
    latent_shape: tuple[int, int, int, int] | None = Field(
        description="channels, frames, height, width of a sample; null: as its window and shape say"
    )
    network: str = Field(description="which network of the family: its size")


class EmaPlan(Frozen):
    """Averaged weights: beta = (1 - 1 / t)^(p + 1), t = step + shift, p by rate (EDM2, appendix C; 0.1 -> 6.94)."""

    rate: float
    shift: int = 0


class RecomputePlan(Frozen):
    """What is computed again in the backward pass."""

    mode: Literal["none", "selective", "full"]
    keep_operations: tuple[str, ...] = Field(default=(), description="regular expressions; only for selective")
    preserve_random_state: bool = True
    check: Literal["default", "none", "match"] = "default"


class CyclePlan(Frozen):
    """One cycle of the learning rate: linear from start to peak over the warm-up, then down to the floor."""

    length: int
    warmup: int
    start: float
    peak: float
    floor: float


class SamplerPlan(Frozen):
    """How video is made from noise."""

    num_steps: int
    guidance: float
    seed: int
    shift: float = 1.0
