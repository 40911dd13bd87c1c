"""Video autoencoders behind one interface, the one diffusers gives them: clips to normalised latents, and back.

Tensor suffixes: B samples, C colours or latent channels, T frames, H W rows, columns.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import diffusers
import torch

from tao_runtime.engine.video_vae.linear import LinearVideoVAE
from tao_runtime.engine.video_vae.wan22 import load_checkpoint
from tao_runtime.errors import InputError

Vae = Any  # diffusers gives its autoencoders no common type
OURS = {"LinearVideoVAE": LinearVideoVAE}


def load_vae(path: Path) -> Vae:
    """Return an autoencoder, in evaluation, frozen: of a folder, whose config.json names the class, or Wan2.2_VAE.pth.

    Raises:
        InputError: the class is unknown, or the tensors do not fit.
    """
    if path.is_file():
        return load_checkpoint(path).eval().requires_grad_(False)
    name = json.loads((path / "config.json").read_text())["_class_name"]
    made = OURS.get(name) or (getattr(diffusers, name, None) if name.startswith("Autoencoder") else None)
    if made is None:
        raise InputError(f"{path}/config.json: _class_name is {name}; want an autoencoder of diffusers")
    return made.from_pretrained(path).eval().requires_grad_(False)


@torch.no_grad()
def encode(vae: Vae, clips_BTHWC: torch.Tensor) -> torch.Tensor:
    """Return normalised latents [B, C, T, H, W], float32: (mode - mean) / std.

    clips_BTHWC: uint8 RGB. The mode, not a sample: the original tokenizers are deterministic.
    """
    pixels = clips_BTHWC.to(vae.device).permute(0, 4, 1, 2, 3).to(vae.dtype) / 127.5 - 1
    latents = vae.encode(pixels).latent_dist.mode().float()
    mean, std = statistics(vae, latents)
    return (latents - mean) / std


@torch.no_grad()
def decode(vae: Vae, latents_BCTHW: torch.Tensor) -> torch.Tensor:
    """Return clips [B, T, H, W, C], uint8 RGB."""
    latents = latents_BCTHW.to(vae.device).float()
    mean, std = statistics(vae, latents)
    pixels = vae.decode((latents * std + mean).to(vae.dtype)).sample.float()
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1)


def statistics(vae: Vae, latents_BCTHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of the latents as [1, C, T or 1, 1, 1]; 0 and 1 where the VAE names none.

    AutoencoderKLCosmos keeps them per channel and frame, one after the other; AutoencoderKLWan per channel.
    """
    channels, frames = latents_BCTHW.shape[1:3]
    if vae.config.latents_mean is None:
        zero = latents_BCTHW.new_zeros(1)
        return zero, zero + 1
    both = (torch.tensor(values).to(latents_BCTHW) for values in (vae.config.latents_mean, vae.config.latents_std))
    mean, std = (values.view(1, channels, -1, 1, 1)[:, :, :frames] for values in both)
    return mean, std


def latent_shape(vae: Vae, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Return C, T, H, W of a clip's latents. Worked number: 93 frames at 4x -> 1 + 92 / 4 = 24.

    Raises:
        ValueError: the clip does not divide; a causal VAE takes 1 + a multiple of its temporal factor.
    """
    temporal, spatial = compression(vae)
    if (num_frames - 1) % temporal or height % spatial or width % spatial:
        want = f"1 + a multiple of {temporal} frames, sides multiples of {spatial}"
        raise ValueError(f"clip of {num_frames} x {height} x {width}; want {want}")
    channels = getattr(vae.config, "z_dim", None) or vae.config.latent_channels
    return channels, 1 + (num_frames - 1) // temporal, height // spatial, width // spatial


def compression(vae: Vae) -> tuple[int, int]:
    """Return the temporal and the spatial compression of an autoencoder."""
    config = vae.config
    if getattr(config, "scale_factor_temporal", None):
        return config.scale_factor_temporal, config.scale_factor_spatial
    return config.temporal_compression_ratio, config.spatial_compression_ratio


def vae_sha256(vae: Vae) -> str:
    """Return the hash of an autoencoder: its class, configuration and every tensor; part of a latent's key."""
    digest = hashlib.sha256(type(vae).__name__.encode())
    config = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, value in sorted(vae.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
