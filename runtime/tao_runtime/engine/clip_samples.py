"""Held-out clips beside what is made of them: encoded and decoded again, and generated from their caption."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from tao_runtime.data.clips import Clip
from tao_runtime.data.records import read_caption
from tao_runtime.engine.clip_request import ClipRequest
from tao_runtime.engine.clip_source import ClipSource
from tao_runtime.engine.clips import load_clip
from tao_runtime.engine.source import VALIDATION_STEP
from tao_runtime.engine.video_file import write_video
from tao_runtime.engine.video_vae import decode
from tao_runtime.plan.diffusion import SamplerPlan
from tao_runtime.score.clip_results import Made
from tao_runtime.score.similarity import Similarity, compare_clips

MOST_GIVEN = 2  # latent frames that a pipeline takes


class Generates(Protocol):
    """The part of `tao_runtime.engine.families.<family>.pipeline` that is used."""

    def generate(self, pipeline: Any, request: ClipRequest) -> np.ndarray: ...


def cut_of(source: ClipSource, position: int) -> tuple[Path, Clip, int]:
    """Return the file of a held-out clip, the clip, and the number of its window."""
    clip, window, _ = source.cut(position, VALIDATION_STEP)
    return Path(str(source.ledger.file[position])), clip, window


def real_frames(source: ClipSource, position: int) -> np.ndarray:
    """Return the frames [T, H, W, C] of a clip, uint8 RGB.

    Raises:
        DecodeError: one does not decode.
    """
    file, clip, _ = cut_of(source, position)
    found: np.ndarray = load_clip(file, clip.indices, height=clip.height, width=clip.width).numpy()
    return found


def reconstruct(source: ClipSource, position: int, real_THWC: np.ndarray) -> tuple[np.ndarray, Similarity]:
    """Return a clip encoded and decoded again, and how alike it is."""
    file, clip, _ = cut_of(source, position)
    decoded_BTHWC = decode(source.vae.model, source.vae.latents(file, clip)[None])
    again_THWC: np.ndarray = decoded_BTHWC[0].cpu().numpy()
    return again_THWC, compare_clips(real_THWC, again_THWC)


def given_frames(source: ClipSource, condition_frames: int) -> int:
    """Return how many frames of a clip so many latent frames are: 1 is 1, 2 at 4 frames each are 5."""
    latent = min(condition_frames, MOST_GIVEN)
    return 1 + (latent - 1) * source.rules.latent.temporal if latent else 0


def request_of(
    source: ClipSource, position: int, sampler: SamplerPlan, *, given_THWC: np.ndarray | None, text_length: int
) -> ClipRequest:
    """Return what is asked for in the place of a clip: its caption, size, length and rate; each clip a seed."""
    _, clip, window = cut_of(source, position)
    text = read_caption(source.ledger, position, window)
    return ClipRequest(
        text.caption,
        clip.height,
        clip.width,
        clip.num_frames,
        clip.fps,
        steps=sampler.num_steps,
        guidance=sampler.guidance,
        seed=sampler.seed + position,
        text_length=text_length,
        given_THWC=given_THWC,
        structured=text.structured,
    )


def make_video(
    module: Generates, pipeline: Any, request: ClipRequest, *, run_dir: Path, name: str
) -> tuple[np.ndarray, Made]:
    """Generate a clip and write it as `name`; returns its frames and how well it keeps those that were given."""
    with torch.no_grad():
        made_THWC = module.generate(pipeline, request)
    temporary = (run_dir / name).with_name(f".{Path(name).name}")
    write_video(temporary, made_THWC, fps=request.fps)
    temporary.replace(run_dir / name)
    given_THWC = request.given_THWC
    kept = compare_clips(given_THWC, made_THWC[: len(given_THWC)]) if given_THWC is not None else None
    return made_THWC, Made(video=name, seed=request.seed, given=kept)
