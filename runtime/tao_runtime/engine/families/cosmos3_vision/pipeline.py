"""Clips from a Cosmos3 pipeline folder: from text, from an image, or from the first frames of a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from diffusers import Cosmos3OmniPipeline, UniPCMultistepScheduler

from tao_runtime.engine.clip_request import ClipRequest, to_uint8
from tao_runtime.engine.families.cosmos3_vision.context_parallel import share_clip
from tao_runtime.engine.pipelines import load_pipeline

__all__ = ["assemble", "generate", "load", "share_clip"]


def assemble(parts: dict[str, Any], *, flow_shift: float, **options: Any) -> Cosmos3OmniPipeline:
    """Return a pipeline of transformer, text_tokenizer and vae; flow_shift is that of training."""
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=flow_shift
    )
    return Cosmos3OmniPipeline(scheduler=scheduler, **parts, **options)


def load(folder: Path, **components: Any) -> Cosmos3OmniPipeline:
    """Return the pipeline of a folder. Whether the library's safety checker is made is in the folder's index."""
    return load_pipeline(Cosmos3OmniPipeline, folder, **components)


def generate(pipeline: Cosmos3OmniPipeline, request: ClipRequest) -> np.ndarray:
    """Return a clip THWC uint8 RGB."""
    said = not request.structured  # JSON says them itself, and is trained as it stands
    made = pipeline(
        **request.options,
        **request.given,
        negative_prompt=request.negative_prompt,
        add_resolution_template=said,
        add_duration_template=said,
    )
    return to_uint8(np.asarray(made.video))
