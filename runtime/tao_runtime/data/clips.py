"""Which frames of a clip a diffusion sample is made of, at which size, or why there is no sample: one pure predicate.

Preflight, plan and loader ask the same function, so what is counted as dropped is what is not trained on. The window
arithmetic is that of `NVIDIA/cosmos-framework@bd6ec1c:data/generator/local_datasets/sft_dataset.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from tao_runtime.data.facts import MediaHeader
from tao_runtime.errors import Frozen

IntervalMode = Literal["force_one", "max_30fps", "entire_chunk"]
Selection = Literal["first", "center", "random"]
Reason = Literal["no-video", "too-long", "empty-window", "too-short", "too-many-tokens"]
REASONS: dict[Reason, str] = {
    "no-video": "the file is a picture, or could not be opened",
    "too-long": "the clip is longer than is allowed",
    "empty-window": "the window starts after the last frame",
    "too-short": "the window has fewer frames than a sample needs",
    "too-many-tokens": "the sample alone is more tokens than a pack holds",
}


class LatentGeometry(Frozen):
    """How a video tokenizer and the network's patches turn frames into tokens."""

    channels: int
    temporal: int = Field(description="frames per latent frame after the first: counts are temporal x N + 1")
    spatial: int = Field(description="pixels per latent pixel and side")
    patch: int = Field(description="latent pixels per token and side")

    def frames(self, num_frames: int) -> int:
        """Latent frames of a clip that the tokenizer takes: 93 frames at 4 are 24, 121 at 8 are 16."""
        return 1 + (num_frames - 1) // self.temporal

    def takes(self, num_frames: int) -> bool:
        return (num_frames - 1) % self.temporal == 0

    def fit(self, num_frames: int) -> int:
        """The most frames, at most so many, that the tokenizer takes: 18 at 4 are 17."""
        return (num_frames - 1) // self.temporal * self.temporal + 1

    def shape(self, num_frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Channels, frames, height and width of the latents of a clip."""
        return self.channels, self.frames(num_frames), height // self.spatial, width // self.spatial

    def tokens(self, num_frames: int, height: int, width: int) -> int:
        """Tokens of a clip; a side that patches do not divide is padded, as the networks do."""
        step = self.spatial * self.patch
        return self.frames(num_frames) * math.ceil(height / step) * math.ceil(width / step)


class ClipRules(Frozen):
    """How clips become samples; recorded in the plan."""

    sizes: tuple[tuple[int, int], ...] = Field(description="(height, width) to choose from, by the shape of the clip")
    num_frames: int | None = Field(description="frames of a sample; null: as many as the window has")
    min_frames: int = Field(default=1, description="fewest frames of a window")
    max_duration_s: float | None = None
    interval_mode: IntervalMode = Field(default="force_one", description="how the stride follows from the frame rate")
    interval: int = Field(default=1, description="frames of the file per frame of the sample, for force_one")
    selection: Selection = "first"
    unit: Literal["clip", "window", "start"] = Field(
        description="what an epoch visits once: a clip (its window is drawn), each window, or each possible start"
    )
    start_interval: int = Field(default=1, description="frames between possible starts, where the unit is start")
    latent: LatentGeometry
    max_tokens: int | None = Field(default=None, description="tokens of a sample, without its text")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a clip with its caption; `last` is inclusive."""

    first: int
    last: int
    interval: int = 1


@dataclass(frozen=True, slots=True)
class Clip:
    """What is decoded: `num_frames` frames from `start`, every `interval`-th, resized to cover, then cropped."""

    start: int
    interval: int
    num_frames: int
    height: int
    width: int
    fps: float  # of the sample
    tokens: int

    @property
    def indices(self) -> range:
        """Frames of the file, in order."""
        return range(self.start, self.start + self.num_frames * self.interval, self.interval)


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a window gives no sample, with the number that was wrong and the number that was wanted."""

    reason: Reason
    saw: float = 0
    want: float = 0


def decide(header: MediaHeader | None, window: Window, rules: ClipRules, *, draw: float = 0.0) -> Clip | Drop:
    """Return the sample of a window, or why there is none. `draw` in [0, 1) says where a random start lies."""
    if header is None or header.kind != "video":
        return Drop("no-video")
    if rules.max_duration_s is not None and header.duration_s > rules.max_duration_s:
        return Drop("too-long", header.duration_s, rules.max_duration_s)
    last = min(window.last, header.num_frames - 1)
    available = last - window.first + 1
    if window.first < 0 or available <= 0:
        return Drop("empty-window", window.first, header.num_frames)
    if available < rules.min_frames:
        return Drop("too-short", available, rules.min_frames)
    if rules.num_frames is None:
        interval, start = window.interval, window.first
        count = rules.latent.fit((available - 1) // interval + 1)
    else:
        interval, count = _interval(header, available, rules), rules.num_frames
        span = (count - 1) * interval + 1
        if available < span:
            return Drop("too-short", available, span)
        start = window.first + _offset(available - span, rules, draw)
    height, width = nearest_size(header.height, header.width, rules.sizes)
    tokens = rules.latent.tokens(count, height, width)
    if rules.max_tokens is not None and tokens > rules.max_tokens:
        return Drop("too-many-tokens", tokens, rules.max_tokens)
    return Clip(start, interval, count, height, width, header.fps / interval, tokens)


def _interval(header: MediaHeader, available: int, rules: ClipRules) -> int:
    if rules.interval_mode == "max_30fps":
        return max(1, int(header.fps / 30.0))
    if rules.interval_mode == "entire_chunk" and rules.num_frames:
        return max(1, available // rules.num_frames)
    return rules.interval


def _offset(room: int, rules: ClipRules, draw: float) -> int:
    if rules.selection == "center":
        return room // 2
    if rules.selection == "random":
        return min(room, int(draw * (room + 1)))
    return 0


def nearest_size(height: int, width: int, sizes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Return the (height, width) whose shape is nearest: 1080x1920 in the tier 256 is 192x320."""
    shape = math.log(width / height)
    return min(sizes, key=lambda size: abs(math.log(size[1] / size[0]) - shape))


def cover(height: int, width: int, target: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return ((height, width) to resize to, (top, left) of the centred crop of the target's size)."""
    ratio = max(target[0] / height, target[1] / width)
    resized = max(target[0], round(height * ratio)), max(target[1], round(width * ratio))
    return resized, (round((resized[0] - target[0]) / 2), round((resized[1] - target[1]) / 2))


def starts(header: MediaHeader, rules: ClipRules) -> list[Window]:
    """Return one window for each possible start of a clip, as a folder data set of fixed length counts its samples."""
    if rules.num_frames is None:
        return [Window(0, header.num_frames - 1)]
    span = (rules.num_frames - 1) * rules.interval + 1
    return [Window(at, at + span - 1) for at in range(0, header.num_frames - span + 1, rules.start_interval)]
