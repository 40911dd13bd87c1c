"""Inference of a family that makes video: an mp4 for each prompt, and beside it what it was made from."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch

from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.media import probe_header
from tao_runtime.data.snapshot import probe_model
from tao_runtime.engine.build import DTYPES
from tao_runtime.engine.clip_request import ClipRequest
from tao_runtime.engine.clips import IMAGES, load_clip
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.dist import World
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.run_dir import RunLog, RunRecord, now
from tao_runtime.engine.video_file import write_video
from tao_runtime.engine.video_vae import load_vae
from tao_runtime.errors import Finding, InputError, RunError
from tao_runtime.plan.diffusion import SamplerPlan
from tao_runtime.plan.model import ModelPlan, VideoInferencePlan
from tao_runtime.spec.base import ModelRef

VIDEOS = "videos"
GIVEN_FRAMES = 5  # last frames of a clip that is gone on from: two latent frames, the most that training gives
TEXT_LENGTH = 512  # where the text encoder's tokenizer says nothing


class PipelineModule(Protocol):
    """A module `tao_runtime.engine.families.<family>.pipeline`."""

    def load(self, folder: Path, **components: Any) -> Any: ...

    def generate(self, pipeline: Any, request: ClipRequest) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One video that is asked for."""

    name: str
    prompt: str
    given: Path | None  # picture or clip to go on from


def generate_videos(plan: VideoInferencePlan, run_dir: Path, world: World) -> None:
    """Make this rank's share of the videos; the main rank then says what there is. Collective."""
    log, started, clock = RunLog(run_dir, is_main=world.is_main), now(), time.monotonic()
    asked = list(requests(plan))
    family = pipeline_module(plan.family)
    tokenizer = {"vae": load_vae(Path(plan.tokenizer))} if plan.tokenizer is not None else {}
    pipeline = load_tuned(family, plan.model, plan.sampler, **tokenizer).to(world.device)
    length = text_length(Path(plan.model.path))
    (run_dir / VIDEOS).mkdir(parents=True, exist_ok=True)
    mine = asked[world.rank :: world.size]
    with StepProgress("videos", len(mine), enabled=world.is_main) as progress:
        for each in mine:
            request = _request(plan, each, text_length=length)
            with torch.no_grad():
                frames_THWC = family.generate(pipeline, request)
            _write(run_dir / VIDEOS, plan, each, frames_THWC)
            progress.advance()
    world.barrier()
    if not world.is_main:
        return
    made = sorted(path.name for path in (run_dir / VIDEOS).glob("*.mp4"))
    missing = sorted({f"{each.name}.mp4" for each in asked} - set(made))
    log.gate("one-video-each", ok=not missing, asked=len(asked), made=len(made))
    if missing:
        raise RunError(f"{len(missing)} videos were not made: {', '.join(missing[:5])}")
    log.complete(
        RunRecord(
            action=plan.action,
            family=plan.family,
            spec_sha256=plan.spec_sha256,
            started_at=started,
            finished_at=now(),
            seconds=round(time.monotonic() - clock, 2),
            records=len(asked),
            gates=tuple(log.gates),
            outputs={"videos": VIDEOS},
            parents={"model": plan.model.path},
        )
    )


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


def requests(plan: VideoInferencePlan) -> Iterator[Asked]:
    """Yield what is asked for.

    Raises:
        InputError: a line of the file of prompts has no prompt, or a name is no file name or there twice.
    """
    if plan.prompts is None:
        yield Asked("0000", plan.prompt, Path(plan.input) if plan.input else None)
        return
    folder, seen = Path(plan.prompts).parent, set[str]()
    for index, _, _, record in iter_array(Path(plan.prompts)):
        table = record if isinstance(record, dict) else {}
        prompt, name = table.get("prompt"), str(table.get("name", f"{index:04d}"))
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"{plan.prompts}: record {index} has no prompt")
        if Path(name).name != name or name in seen:
            raise InputError(f"{plan.prompts}: record {index}: name {name!r}; want a file name, and each once")
        seen.add(name)
        given = table.get("input_path") or plan.input
        yield Asked(name, prompt, folder / str(given) if table.get("input_path") else Path(given) if given else None)


def _request(plan: VideoInferencePlan, asked: Asked, *, text_length: int) -> ClipRequest:
    height, width = plan.size
    return ClipRequest(
        asked.prompt,
        height,
        width,
        plan.num_frames,
        plan.fps,
        steps=plan.sampler.num_steps,
        guidance=plan.sampler.guidance,
        seed=plan.sampler.seed,
        text_length=text_length,
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


def _write(folder: Path, plan: VideoInferencePlan, asked: Asked, frames_THWC: np.ndarray) -> None:
    """Write a video, whole or not at all, and what it was made from."""
    temporary = folder / f".{asked.name}.mp4"
    write_video(temporary, frames_THWC, fps=plan.fps)
    made_from = {
        "prompt": asked.prompt,
        "negative_prompt": plan.negative_prompt,
        "input": str(asked.given) if asked.given else None,
        "model": plan.model.path,
        "spec_sha256": plan.spec_sha256,
        "size": list(plan.size),
        "num_frames": plan.num_frames,
        "fps": plan.fps,
        **plan.sampler.model_dump(),
    }
    write_atomically(folder / f"{asked.name}.json", json.dumps(made_from, indent=1) + "\n")
    temporary.replace(folder / f"{asked.name}.mp4")
