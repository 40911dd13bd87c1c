"""Clips from a Predict1 pipeline folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from diffusers import CosmosTextToWorldPipeline, EDMEulerScheduler

from tao_runtime.engine.clip_request import ClipRequest, to_uint8
from tao_runtime.engine.dit import supply_resize
from tao_runtime.engine.dit_family import share_clip
from tao_runtime.engine.pipelines import load_pipeline

__all__ = ["assemble", "generate", "load", "share_clip"]


def scheduler() -> EDMEulerScheduler:
    """Return the sampler of the released models (model card: scheduler/scheduler_config.json)."""
    return EDMEulerScheduler(
        sigma_min=0.002,
        sigma_max=80,
        sigma_data=0.5,
        sigma_schedule="karras",
        prediction_type="epsilon",
        rho=7.0,
        final_sigmas_type="sigma_min",
    )


def assemble(parts: dict[str, Any]) -> CosmosTextToWorldPipeline:
    """Return a pipeline of text_encoder, tokenizer, transformer, vae, and safety_checker (left out: the library's)."""
    return CosmosTextToWorldPipeline(scheduler=scheduler(), **parts)


def load(folder: Path, **components: Any) -> CosmosTextToWorldPipeline:
    """Return the pipeline of a folder. Without `safety_checker=` the library makes its own, cosmos_guardrail."""
    return load_pipeline(CosmosTextToWorldPipeline, folder, **components)


def generate(pipeline: CosmosTextToWorldPipeline, request: ClipRequest) -> np.ndarray:
    """Return a clip THWC uint8 RGB."""
    supply_resize()
    made = pipeline(
        **request.options,
        **request.other_side(pipeline),
        max_sequence_length=request.text_length,
    )
    return to_uint8(made.frames[0])
