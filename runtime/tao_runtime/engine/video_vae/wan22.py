"""The Wan 2.2 autoencoder from its own checkpoint, Wan2.2_VAE.pth, which recipes name by path.

diffusers 0.42.1 converts the checkpoint of 2.1 only (single_file_utils, `convert_wan_vae_to_diffusers`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file

from tao_runtime.data.wan22_vae import NAMES
from tao_runtime.errors import InputError

# Wan2.2 wan/modules/vae2_2.py, `Wan2_2_VAE`: the statistics of its 48 latent channels.
# fmt: off
MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)
STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)
# fmt: on
CONFIG: dict[str, Any] = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,  # 3 colours of 2 x 2 pixels
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 16,
    "latents_mean": list(MEAN),
    "latents_std": list(STD),
}


def load_checkpoint(path: Path, config: dict[str, Any] = CONFIG) -> AutoencoderKLWan:
    """Return the autoencoder of a .pth or .safetensors file with the original names, float32.

    Raises:
        InputError: the tensors are not those of this autoencoder.
    """
    is_safe = path.suffix == ".safetensors"
    tensors = load_file(path) if is_safe else torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    with init_empty_weights():
        vae = AutoencoderKLWan(**config)
    wanted = vae.state_dict()
    found = {_translated(name): value for name, value in tensors.items()}
    wrong = sorted(name for name in found.keys() & wanted.keys() if found[name].shape != wanted[name].shape)
    missing, strange = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or strange or wrong:
        raise InputError(
            f"{path}: not the Wan 2.2 autoencoder; missing {missing[:3]}, unknown {strange[:3]}, of another shape "
            f"{wrong[:3]}. Want Wan2.2_VAE.pth, or a folder that diffusers saved"
        )
    vae.load_state_dict({name: value.float() for name, value in found.items()}, assign=True)
    return vae


def _translated(name: str) -> str:
    """Return a name in diffusers; one that is unknown stays as it is, and is told."""
    try:
        return NAMES.to_diffusers(name) or name
    except KeyError:
        return name
