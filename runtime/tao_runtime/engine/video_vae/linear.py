"""A linear video tokenizer: fixed principal components of blocks of pixels, fitted in seconds, causal in time.

Each latent frame stands for `temporal` frames and each latent pixel for `spatial` x `spatial` pixels, as in the learned
tokenizers; the first frame stands alone, repeated. Good enough to see which way a square moves (about 25 dB on the
demo's clips), and what a learned tokenizer of the same size is not after minutes of training.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

ARGUMENTS = ("z_dim", "temporal", "spatial", "per_frame")
MAX_ROWS = 20_000  # blocks the basis is fitted on


class Point:
    """A distribution that is one point, with the interface of diffusers' latent distributions."""

    def __init__(self, mean: torch.Tensor) -> None:
        self.mean = mean

    def mode(self) -> torch.Tensor:
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        return self.mean


class LinearVideoVAE(ModelMixin, ConfigMixin):
    """Encodes and decodes [B, 3, T, H, W] in [-1, 1] with one matrix. Saved and loaded as any diffusers model."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, z_dim: int = 16, temporal: int = 4, spatial: int = 8, per_frame: bool = False) -> None:
        """per_frame: name no latent statistics, as AutoencoderKLCosmos may; its pipelines then expect none."""
        super().__init__()
        size = 3 * temporal * spatial**2
        self.basis = nn.Parameter(torch.zeros(size, z_dim), requires_grad=False)
        self.mean = nn.Parameter(torch.zeros(size), requires_grad=False)
        self.std = nn.Parameter(torch.ones(z_dim), requires_grad=False)
        # What the pipelines read: each family's VAE says its compression by other names.
        self.register_to_config(
            latent_channels=z_dim,
            temporal_compression_ratio=temporal,
            spatial_compression_ratio=spatial,
            scale_factor_temporal=temporal,
            scale_factor_spatial=spatial,
            latents_mean=None if per_frame else [0.0] * z_dim,
            latents_std=None if per_frame else [1.0] * z_dim,
        )
        halvings = int(math.log2(spatial))
        self.temperal_downsample = [step < int(math.log2(temporal)) for step in range(halvings)]  # upstream's spelling

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **options: Any) -> Any:
        """Leave out the derived values of a saved configuration: they are derived again."""
        given = {key: value for key, value in config_dict.items() if key in ARGUMENTS or key.startswith("_")}
        return super().extract_init_dict(given, **options)

    def _blocks(self, pixels_BCTHW: torch.Tensor) -> torch.Tensor:
        """Return the blocks of a clip [B, T, H, W, size], the first frame repeated to fill its own."""
        t, s = self.config.temporal, self.config.spatial
        first = pixels_BCTHW[:, :, :1].expand(-1, -1, t - 1, -1, -1)
        padded = torch.cat([first, pixels_BCTHW], dim=2)
        return (
            padded.unflatten(4, (-1, s))
            .unflatten(3, (-1, s))
            .unflatten(2, (-1, t))
            .permute(0, 2, 4, 6, 1, 3, 5, 7)
            .flatten(4)
        )

    @torch.no_grad()
    def fit(self, pixels_BCTHW: torch.Tensor, *, seed: int = 0) -> LinearVideoVAE:
        """Fit the basis to clips in [-1, 1]; latents get unit mean variance, half whitened.

        Half: strong components stay stronger, so that a small network spends its capacity on them.
        """
        rows = self._blocks(pixels_BCTHW).flatten(0, 3)
        self.mean.copy_(rows.mean(0))
        generator = torch.Generator().manual_seed(seed)
        centred = (rows - self.mean)[torch.randperm(len(rows), generator=generator)[:MAX_ROWS]]
        with torch.random.fork_rng(devices=[]):  # the sketch takes no generator
            torch.manual_seed(seed)
            _, _, basis = torch.svd_lowrank(centred, q=self.config.z_dim, niter=4)
        self.basis.copy_(basis)
        deviation = (centred @ basis).std(0)
        half = (deviation * deviation.square().mean().sqrt()).sqrt()
        self.std.copy_(half * (deviation / half).square().mean().sqrt())
        return self

    def encode(self, x: torch.Tensor, return_dict: bool = True) -> Any:
        latents = (self._blocks(x) - self.mean) @ self.basis / self.std
        point = Point(latents.permute(0, 4, 1, 2, 3))
        return SimpleNamespace(latent_dist=point) if return_dict else (point,)

    def decode(self, z: torch.Tensor, return_dict: bool = True) -> Any:
        t, s = self.config.temporal, self.config.spatial
        blocks = (z.permute(0, 2, 3, 4, 1) * self.std) @ self.basis.T + self.mean
        parts = blocks.unflatten(4, (3, t, s, s)).permute(0, 4, 1, 5, 2, 6, 3, 7)
        pixels = parts.flatten(6, 7).flatten(4, 5).flatten(2, 3)[:, :, t - 1 :]
        return SimpleNamespace(sample=pixels) if return_dict else (pixels,)
