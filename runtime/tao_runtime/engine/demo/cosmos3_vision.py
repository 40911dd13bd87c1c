"""A tiny Cosmos3: both towers, grouped key heads, three-axis positions; thinner and shorter than the released ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import Cosmos3OmniPipeline, Cosmos3OmniTransformer

from tao_runtime.engine.demo import video
from tao_runtime.engine.demo.tiny_text import tiny_chat_tokenizer
from tao_runtime.engine.families.cosmos3_vision.pipeline import assemble, generate, load
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


def tiny_vae(*, spatial: int = 16) -> LinearVideoVAE:
    """Return the tokenizer to fit: 17 x 64 x 64 pixels to 16 x 5 x 4 x 4 latents."""
    return LinearVideoVAE(z_dim=16, temporal=4, spatial=spatial)


SIZE = 256  # of the smallest tier; with 64 pixels to a latent it costs what 64 x 64 costs
FITTED_ON = 16  # clips, one of each motion


def demo() -> video.VideoDemo:
    """Return what the demo is made of."""
    return video.VideoDemo(
        pipeline=_pipeline, spec=_spec(), load=load, generate=generate, gives_frame=False, text_length=0, size=SIZE
    )


def _pipeline(clips_NTHWC: np.ndarray) -> Cosmos3OmniPipeline:
    pixels = video.as_pixels(video.enlarged(clips_NTHWC[:FITTED_ON], SIZE))
    return tiny_pipeline(tiny_network(), tiny_vae(spatial=64).fit(pixels))


def _spec() -> dict[str, Any]:
    """Return the training spec: the generator's tower, from a base that knows nothing."""
    return {
        "job": {"task": "vfm", "output_root": "runs", "project": "demo", "group": "tiny", "name": "train"},
        "model": {
            "precision": "float32",
            "activation_checkpointing": {"mode": "none"},
            "tokenizer": {"vae_path": f"{video.BASE}/vae"},
        },
        "optimizer": {
            "lr": 3e-3,
            "betas": [0.9, 0.95],
            "eps": 1e-6,
            "keys_to_select": ["moe_gen", "time_embedder", "vae2llm", "llm2vae"],
        },
        "scheduler": {"name": "constant", "cycle_lengths": [900], "warm_up_steps": [50]},
        "trainer": {"max_iter": 900, "logging_iter": 20},
        "checkpoint": {"load_path": str(video.BASE), "save_iter": 450},
        "dataloader_train": {
            "dataset_path": str(video.CLIPS),
            "dataset_file": video.RECORDS,
            "max_samples_per_batch": 16,
            "num_workers": 1,
        },
    }


def prepare(out: Path, *, share: float = 1.0) -> None:
    """Write base/, clips/ and train.yaml into `out`, unless they are there."""
    video.prepare(out, demo(), share=share)


def run(out: Path) -> None:
    """Train, generate and measure."""
    video.run(out, demo())
