"""Inference of a family that makes video: an mp4 for each prompt, and beside it what it was made from."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.distributed import ProcessGroup

from tao_runtime.data.media import probe_header
from tao_runtime.data.snapshot import probe_model
from tao_runtime.engine.build import DTYPES, merged_adapter
from tao_runtime.engine.clip_request import ClipRequest
from tao_runtime.engine.clips import IMAGES, load_clip
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.dist import World, sequence_group
from tao_runtime.engine.item_run import ItemRun
from tao_runtime.engine.kept import CLIP
from tao_runtime.engine.offload import Turns
from tao_runtime.engine.requests import VIDEOS, Asked, clip_requests
from tao_runtime.engine.upsample import upsampled
from tao_runtime.engine.video_file import write_video
from tao_runtime.engine.video_vae import load_vae
from tao_runtime.errors import Finding, RunError
from tao_runtime.plan.diffusion import SamplerPlan
from tao_runtime.plan.model import ModelPlan, VideoInferencePlan
from tao_runtime.spec.base import ModelRef

GIVEN_FRAMES = 5  # last frames of a clip that is gone on from: two latent frames, the most that training gives
TEXT_LENGTH = 512  # where the text encoder's tokenizer says nothing


class PipelineModule(Protocol):
    """A module `tao_runtime.engine.families.<family>.pipeline`."""

    def load(self, folder: Path, **components: Any) -> Any: ...

    def generate(self, pipeline: Any, request: ClipRequest) -> np.ndarray: ...

    def share_clip(self, network: Any, group: ProcessGroup) -> None:
        """Make the network, called with a whole clip on every rank, work on this rank's part and return the whole."""


@dataclass(frozen=True, slots=True)
class Maker:
    """What makes clips on this process."""

    plan: VideoInferencePlan
    make: Callable[[ClipRequest], np.ndarray]
    turns: Turns
    checker: str | None  # class of the safety checker
    text_length: int


def generate_videos(plan: VideoInferencePlan, run_dir: Path, world: World) -> None:
    """Make this rank's share of the videos; the main rank then says what there is. Collective."""
    world = replace(world, cp=plan.cp)
    run = ItemRun(plan, run_dir, world)
    asked = list(clip_requests(plan))
    better = upsampled(plan, asked, run_dir, world)
    maker = load_maker(plan, world)
    run.log.gate("safety-checker", ok=True, checker=maker.checker)
    folder = run_dir / VIDEOS
    folder.mkdir(parents=True, exist_ok=True)

    def make(positions: list[int]) -> list[dict[str, object]]:
        (at,) = positions
        prompt = better[at] if better else None
        frames_THWC = maker.make(_request(maker, asked[at], prompt=prompt))
        maker.turns.end()
        if world.rank % world.cp == 0:  # of the ranks that made it together
            _write(folder, maker, asked[at], prompt, frames_THWC)
        return [{CLIP: asked[at].name}]

    rows = run.make(VIDEOS, len(asked), make)
    if world.is_main:
        missing = sorted(name for row in rows if not (folder / (name := f"{row[CLIP]}.mp4")).is_file())
        run.log.gate("one-video-each", ok=not missing, asked=len(asked), made=len(rows) - len(missing))
        if missing:
            named = ", ".join(missing[:5])
            raise RunError(f"{len(missing)} videos were made and are not there: {named}. Fix: start anew with --anew")
        run.complete(len(rows), outputs={VIDEOS: VIDEOS})
    world.barrier()


def load_maker(plan: VideoInferencePlan, world: World) -> Maker:
    """Return the pipeline of a plan, its parts where the plan wants them. Collective."""
    family = pipeline_module(plan.family)
    tokenizer = {"vae": load_vae(Path(plan.tokenizer))} if plan.tokenizer is not None else {}
    pipeline = load_tuned(family, plan.model, plan.sampler, **tokenizer)
    if plan.model.base_path is not None:
        pipeline.register_modules(transformer=merged_adapter(pipeline.transformer, Path(plan.model.path)))
    if plan.cp > 1:
        group = sequence_group(world)
        try:
            family.share_clip(pipeline.transformer, group)
        except ValueError as error:
            raise RunError(f"inference.context_parallel_size: {error}") from error
    turns = Turns(pipeline, plan.offload, world.device)
    checker = getattr(pipeline, "safety_checker", None)

    @torch.no_grad()
    def make(request: ClipRequest) -> np.ndarray:
        return family.generate(pipeline, request)

    length = text_length(Path(plan.model.base_path or plan.model.path))
    return Maker(plan, make, turns, None if checker is None else type(checker).__name__, length)


def text_length(folder: Path) -> int:
    """Return how many tokens a prompt is padded to: as many as its tokenizer says, at most those of training."""
    length = probe_model(ModelRef("model", str(folder / "text_encoder"), "model.path")).text_length
    return min(length or TEXT_LENGTH, TEXT_LENGTH)


def load_tuned(family: PipelineModule, model: ModelPlan, sampler: SamplerPlan, **components: Any) -> Any:
    """Return the pipeline of a folder, an adapter's being that of its base; `components` replace what it holds.

    Raises:
        RunError: the library's safety checker is not installed; released weights do not run without it.
    """
    folder = Path(model.base_path or model.path)
    try:
        pipeline = family.load(folder, dtype=DTYPES[model.dtype], **components)
    except ImportError as error:
        raise RunError(
            f"{folder}: the safety checker of released weights, cosmos_guardrail, is not installed. Fix: pip "
            "install cosmos_guardrail, and accept the licence of its weights"
        ) from error
    if sampler.shift != 1.0:
        scheduler = pipeline.scheduler
        pipeline.scheduler = type(scheduler).from_config(scheduler.config, flow_shift=sampler.shift)
    return pipeline


def pipeline_module(family: str) -> PipelineModule:
    """Return the module that knows a family's pipeline."""
    return cast(PipelineModule, importlib.import_module(f"tao_runtime.engine.families.{family}.pipeline"))


def _request(maker: Maker, asked: Asked, *, prompt: str | None) -> ClipRequest:
    plan = maker.plan
    height, width = plan.size
    return ClipRequest(
        prompt or asked.prompt,
        height,
        width,
        plan.num_frames,
        plan.fps,
        steps=plan.sampler.num_steps,
        guidance=plan.sampler.guidance,
        seed=asked.seed,
        text_length=maker.text_length,
        given_THWC=None if asked.given is None else _given(asked.given, height=height, width=width),
        negative_prompt=plan.negative_prompt,
    )


def _given(path: Path, *, height: int, width: int) -> np.ndarray:
    """Return a picture, or the last frames of a clip, at the size of the video.

    Raises:
        RunError: it cannot be opened.
    """
    kind = "image" if path.suffix.lower() in IMAGES else "video"
    header = probe_header(path, "image" if kind == "image" else "video")
    if isinstance(header, Finding):
        raise RunError(header.render())
    first = max(0, header.num_frames - GIVEN_FRAMES)
    frames_THWC = load_clip(path, range(first, header.num_frames), height=height, width=width)
    found: np.ndarray = frames_THWC.numpy()
    return found


def _write(folder: Path, maker: Maker, asked: Asked, prompt: str | None, frames_THWC: np.ndarray) -> None:
    """Write a video, whole or not at all, and what it was made from."""
    plan = maker.plan
    temporary = folder / f".{asked.name}.mp4"
    write_video(temporary, frames_THWC, fps=plan.fps)
    made_from = {
        "prompt": asked.prompt,
        "upsampled_prompt": prompt,
        "prompt_upsampler": plan.upsampler,
        "negative_prompt": plan.negative_prompt,
        "input": str(asked.given) if asked.given else None,
        "model": plan.model.path,
        "spec_sha256": plan.spec_sha256,
        "size": list(plan.size),
        "num_frames": plan.num_frames,
        "fps": plan.fps,
        **plan.sampler.model_dump(),
        "seed": asked.seed,
        "context_parallel_size": plan.cp,
        "offload": list(plan.offload),
        "safety_checker": maker.checker,
    }
    write_atomically(folder / f"{asked.name}.json", json.dumps(made_from, indent=1) + "\n")
    temporary.replace(folder / f"{asked.name}.mp4")
