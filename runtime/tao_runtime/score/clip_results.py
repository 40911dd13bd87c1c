"""video_results.json: how well a video generator knows held-out clips, clip by clip and over all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from tao_runtime.errors import Frozen
from tao_runtime.score.interval import Estimate, mean_of_numbers
from tao_runtime.score.similarity import Similarity

VIDEO_RESULTS_NAME = "video_results.json"
Who = Literal["tuned", "baseline"]


class Made(Frozen):
    """A video that was made from a clip's caption."""

    video: str = Field(description="relative to the run directory")
    seed: int
    given: Similarity | None = Field(description="its first frames against those that were given; null: none were")


class ClipResult(Frozen):
    """What was measured on one clip."""

    record: int = Field(description="index in the data set")
    file: str
    caption: str
    first_frame: int = Field(description="of the file")
    interval: int = Field(description="frames of the file per frame of the sample")
    num_frames: int
    height: int
    width: int
    fps: float
    given_frames: int = Field(description="leading frames that the network was given")
    losses: dict[Who, tuple[float, ...]] = Field(description="by noise level; empty: the clip could not be read")
    reconstruction: Similarity | None = Field(default=None, description="of the clip, encoded and decoded again")
    made: dict[Who, Made] = Field(default_factory=dict)
    error: str | None = Field(default=None, description="why the clip could not be read")


class LevelLoss(Frozen):
    """The training loss at one noise level."""

    level: float
    tuned: Estimate
    baseline: Estimate | None = None
    difference: Estimate | None = Field(default=None, description="tuned minus baseline, clip by clip")


class ClipCounts(Frozen):
    """What became of the clips of the data set; they add up to `records`."""

    records: int
    judged: int
    unreadable: int = Field(description="asked for, and not decoded")
    without_sample: int = Field(description="no window of theirs gives a sample; `dropped` says why")
    not_asked: int = Field(description="beyond evaluate.limit")


class VideoResults(Frozen):
    """All figures of an evaluation, each with a 95 % interval over clips."""

    schema_version: Literal["tao-run/video-results/1"] = Field(default="tao-run/video-results/1", alias="schema")
    family: str
    spec_sha256: str
    model: str
    commit: str | None = None
    weights: Literal["as exported", "averaged", "live"]
    baseline: str | None = None
    seed: int
    counts: ClipCounts
    dropped: dict[str, int] = Field(description="why windows give no sample -> how many")
    loss: LevelLoss | None = Field(description="mean over the noise levels; `level` is their mean; null: no clip")
    by_level: tuple[LevelLoss, ...]
    reconstruction: dict[str, Estimate] = Field(description="psnr in dB, ssim: what the video tokenizer loses")
    given: dict[Who, dict[str, Estimate]] = Field(description="the same of made videos against the frames given")
    clips: tuple[ClipResult, ...]


def loss_figures(
    clips: Sequence[ClipResult], levels: Sequence[float]
) -> tuple[LevelLoss | None, tuple[LevelLoss, ...]]:
    """Return the loss over all levels, and at each."""
    read = [clip.losses for clip in clips if clip.losses]
    if not read:
        return None, ()

    def figure(level: float, pick: slice) -> LevelLoss:
        values = {who: [_mean(each[who][pick]) for each in read] for who in read[0]}
        tuned = mean_of_numbers(values["tuned"])
        if "baseline" not in values:
            return LevelLoss(level=level, tuned=tuned)
        pairs = zip(values["tuned"], values["baseline"], strict=True)
        difference = mean_of_numbers([mine - theirs for mine, theirs in pairs])
        return LevelLoss(level=level, tuned=tuned, baseline=mean_of_numbers(values["baseline"]), difference=difference)

    by_level = tuple(figure(level, slice(number, number + 1)) for number, level in enumerate(levels))
    return figure(_mean(levels), slice(None)), by_level


def similarity_figures(found: Sequence[Similarity]) -> dict[str, Estimate]:
    """Return the mean PSNR and SSIM over clips; nothing where there are none."""
    if not found:
        return {}
    known = [each.ssim for each in found if each.ssim is not None]
    return {"psnr": mean_of_numbers([each.psnr for each in found]), "ssim": mean_of_numbers(known)}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def write_video_results(results: VideoResults, path: Path) -> None:
    """Write the file; it appears only when it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(results.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)
