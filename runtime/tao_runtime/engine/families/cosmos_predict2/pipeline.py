"""Clips from a Predict2 pipeline folder; the first frame, or several, are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from diffusers import Cosmos2VideoToWorldPipeline, FlowMatchEulerDiscreteScheduler

from tao_runtime.engine.clip_request import ClipRequest, to_uint8
from tao_runtime.engine.dit import supply_resize
from tao_runtime.engine.dit_family import share_clip
from tao_runtime.engine.pipelines import load_pipeline

__all__ = ["assemble", "generate", "load", "share_clip"]


def assemble(parts: dict[str, Any]) -> Cosmos2VideoToWorldPipeline:
    """Return a pipeline of text_encoder, tokenizer, transformer, vae, and safety_checker (left out: the library's)."""
    return Cosmos2VideoToWorldPipeline(scheduler=FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True), **parts)


def load(folder: Path, **components: Any) -> Cosmos2VideoToWorldPipeline:
    """Return the pipeline of a folder. Without `safety_checker=` the library makes its own, cosmos_guardrail."""
    return load_pipeline(Cosmos2VideoToWorldPipeline, folder, **components)


def generate(pipeline: Cosmos2VideoToWorldPipeline, request: ClipRequest) -> np.ndarray:
    """Return a clip THWC uint8 RGB. `request.given_THWC` is needed: this model continues frames."""
    supply_resize()
    made = pipeline(
        **request.options,
        **request.given,
        **request.other_side(pipeline),
        max_sequence_length=request.text_length,
    )
    return to_uint8(made.frames[0])
