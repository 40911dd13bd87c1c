"""A tiny Predict2: the layout of the 2B model (an input channel for given frames, rope scale 1, 3, 3), smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import Cosmos2VideoToWorldPipeline, CosmosTransformer3DModel

from tao_runtime.engine.demo import video
from tao_runtime.engine.demo.guardrail import NoGuardrail
from tao_runtime.engine.demo.tiny_text import tiny_t5
from tao_runtime.engine.families.cosmos_predict2.pipeline import assemble, generate, load
from tao_runtime.engine.video_vae.linear import LinearVideoVAE

TEXT_LENGTH = 12  # tokens; the captions have 6


def tiny_network(*, seed: int = 0, **changes: Any) -> CosmosTransformer3DModel:
    """Return a network of 0.75M parameters; `changes` are fields of its configuration."""
    config = {
        "in_channels": 17,
        "out_channels": 16,
        "num_attention_heads": 4,
        "attention_head_dim": 24,
        "num_layers": 4,
        "mlp_ratio": 4.0,
        "text_embed_dim": 32,
        "adaln_lora_dim": 32,
        "max_size": (16, 32, 32),
        "patch_size": (1, 2, 2),
        "rope_scale": (1.0, 3.0, 3.0),
        "concat_padding_mask": True,
        "extra_pos_embed_type": None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CosmosTransformer3DModel(**{**config, **changes})


def tiny_pipeline(network: CosmosTransformer3DModel, vae: LinearVideoVAE) -> Cosmos2VideoToWorldPipeline:
    """Return a pipeline that runs on a CPU. The VAE: 4 frames and 16 x 16 pixels to a latent."""
    tokenizer, encoder = tiny_t5(max_tokens=TEXT_LENGTH)
    parts = {"tokenizer": tokenizer, "text_encoder": encoder, "transformer": network.eval(), "vae": vae}
    pipeline = assemble({**parts, "safety_checker": NoGuardrail()})
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_vae() -> LinearVideoVAE:
    """Return the tokenizer to fit: 17 x 64 x 64 pixels to 16 x 5 x 4 x 4 latents."""
    return LinearVideoVAE(z_dim=16, temporal=4, spatial=16)


def demo() -> video.VideoDemo:
    """Return what the demo is made of."""
    return video.VideoDemo(
        pipeline=_pipeline,
        spec=video.train_spec("video2world"),
        load=lambda folder: load(folder, safety_checker=NoGuardrail()),
        generate=generate,
        gives_frame=True,
        text_length=TEXT_LENGTH,
    )


def _pipeline(clips_NTHWC: np.ndarray) -> Cosmos2VideoToWorldPipeline:
    return tiny_pipeline(tiny_network(), tiny_vae().fit(video.as_pixels(clips_NTHWC)))


def prepare(out: Path, *, share: float = 1.0) -> None:
    """Write base/, clips/ and train.yaml into `out`, unless they are there."""
    video.prepare(out, demo(), share=share)


def run(out: Path) -> None:
    """Train, generate and measure."""
    video.run(out, demo())
