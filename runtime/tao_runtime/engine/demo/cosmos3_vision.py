"""A tiny Cosmos3: both towers, grouped key heads, three-axis positions; thinner and shorter than the released ones."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import Cosmos3OmniPipeline, Cosmos3OmniTransformer

from tao_runtime.engine.demo.tiny_text import tiny_chat_tokenizer
from tao_runtime.engine.families.cosmos3_vision.pipeline import assemble
from tao_runtime.engine.video_vae.linear import LinearVideoVAE


def tiny_network(*, seed: int = 0, **changes: Any) -> Cosmos3OmniTransformer:
    """Return a network of 0.9M parameters, float32; `changes` are fields of its configuration."""
    config = {
        "head_dim": 24,
        "hidden_size": 96,
        "intermediate_size": 256,
        "latent_channel": 16,
        "latent_patch_size": 2,
        "patch_latent_dim": 64,  # 16 channels x 2 x 2
        "num_attention_heads": 4,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(tiny_chat_tokenizer()) + 3,
        "rope_axes_dim": [4, 4, 4],  # adds up to half a head
        "base_fps": 24,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Cosmos3OmniTransformer(**{**config, **changes}).float()


def tiny_pipeline(
    network: Cosmos3OmniTransformer, vae: LinearVideoVAE, *, flow_shift: float = 1.0
) -> Cosmos3OmniPipeline:
    """Return a pipeline that runs on a CPU, without safety checker; the VAE is `tiny_vae`, fitted."""
    parts = {"transformer": network.eval(), "text_tokenizer": tiny_chat_tokenizer(), "vae": vae}
    pipeline = assemble(parts, flow_shift=flow_shift, enable_safety_checker=False, default_use_system_prompt=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_vae() -> LinearVideoVAE:
    """Return the tokenizer to fit: 17 x 64 x 64 pixels to 16 x 5 x 4 x 4 latents."""
    return LinearVideoVAE(z_dim=16, temporal=4, spatial=16)
