"""Which frames of a video are taken and how large they get: integers only, nothing is decoded.

The arithmetic equals transformers 5.23.0 `Qwen3VLVideoProcessor.sample_frames/smart_resize` and
`Qwen2VLImageProcessor` (tests/engine/families/test_pixels.py holds the two against each other).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import Field

from tao_runtime.data.facts import MediaHeader, VisionGeometry
from tao_runtime.errors import Frozen

MAX_ASPECT_RATIO = 200  # the library refuses more


class SamplingPlan(Frozen):
    """How frames are taken from a video and how large they get."""

    fps: float | None = Field(default=None, description="frames per second of video time")
    num_frames: int | None = None
    min_frames: int | None = None
    max_frames: int | None = None
    min_pixels: int | None = Field(default=None, description="pixels of one frame")
    max_pixels: int | None = Field(default=None, description="pixels of one frame")
    total_pixels: int | None = Field(default=None, description="pixels of all sampled frames of a video")


@dataclass(frozen=True, slots=True)
class MediaLayout:
    """One medium as the model will see it."""

    kind: str  # video or image
    frame_indices: tuple[int, ...]  # frames of the source to decode; (0,) for an image
    height: int  # pixels after resizing, a multiple of patch x merge
    width: int
    grid_thw: tuple[int, int, int]  # patches: temporal, vertical, horizontal
    tokens_per_step: int  # tokens of one temporal step
    timestamps_s: tuple[float, ...]  # one per temporal step; empty for an image

    @property
    def num_tokens(self) -> int:
        """Visual tokens, timestamps and markers not included."""
        return self.grid_thw[0] * self.tokens_per_step


def sample_frames(header: MediaHeader, sampling: SamplingPlan, geometry: VisionGeometry) -> tuple[int, ...]:
    """Return the indices of the frames to decode, evenly spread from the first to the last one.

    `num_frames` never exceeds what the video has: repeating frames would only repeat tokens.
    Worked example: 16 frames, num_frames=4 -> 0, 5, 10, 15.
    """
    total = header.num_frames
    if sampling.num_frames is not None:
        count = min(sampling.num_frames, total)
    else:
        low = sampling.min_frames or geometry.min_frames
        high = sampling.max_frames or geometry.max_frames
        count = min(max(int(total / header.fps * (sampling.fps or 2.0)), low), high, total)
    if sampling.max_frames is not None:
        count = min(count, sampling.max_frames)
    if count == 1:
        return (0,)
    # numpy.linspace(0, total - 1, count).round(): half goes to even, as Python's round does
    step = (total - 1) / (count - 1)
    return (*(round(i * step) for i in range(count - 1)), total - 1)


def fit(
    num_frames: int, height: int, width: int, *, factor: int, budget: tuple[int, int], temporal: int = 1
) -> tuple[int, int]:
    """Return height and width in multiples of `factor` so that frames x height x width lies in `budget` pixels.

    As the library does it: frames are counted in multiples of `temporal`, half to even (5 frames count as 4), and no
    side goes below `factor`, whatever the budget. Worked example: 1 frame of 100x300, factor 32, 16,384 pixels at
    most -> shrink 1.353 -> 64x192.
    """
    low, high = budget
    rows, columns = round(height / factor) * factor, round(width / factor) * factor
    frames = round(num_frames / temporal) * temporal
    if frames * rows * columns > high:
        shrink = math.sqrt(num_frames * height * width / high)
        rows = max(factor, math.floor(height / shrink / factor) * factor)
        columns = max(factor, math.floor(width / shrink / factor) * factor)
    elif frames * rows * columns < low:
        grow = math.sqrt(low / (num_frames * height * width))
        rows = math.ceil(height * grow / factor) * factor
        columns = math.ceil(width * grow / factor) * factor
    return rows, columns


def video_budget(num_frames: int, sampling: SamplingPlan, geometry: VisionGeometry) -> tuple[int, int]:
    """Return the least and most pixels that all sampled frames of a video may have together."""
    low = sampling.min_pixels * num_frames if sampling.min_pixels else geometry.video_min_pixels
    high = sampling.total_pixels or geometry.video_max_pixels
    if sampling.max_pixels:
        high = min(high, sampling.max_pixels * num_frames)
    return min(low, high), high


def lay_out_video(header: MediaHeader, sampling: SamplingPlan, geometry: VisionGeometry) -> MediaLayout:
    """Return the layout of a video. An odd last frame is paired with itself, as the library does."""
    indices = sample_frames(header, sampling, geometry)
    temporal, factor = geometry.temporal_patch_size, geometry.patch_size * geometry.merge_size
    padded = indices + (indices[-1],) * (-len(indices) % temporal)
    # The library enlarges a frame that is smaller than a token before it looks at the budget; an image it does not.
    scale = max(1.0, factor / header.height, factor / header.width)
    height, width = fit(
        max(len(indices), temporal),
        int(header.height * scale),
        int(header.width * scale),
        factor=factor,
        budget=video_budget(len(indices), sampling, geometry),
        temporal=temporal,
    )
    steps = len(padded) // temporal
    times = [index / header.fps for index in padded]
    # The mean of the quotients, not the quotient of the mean: the tenth that is printed hangs on the last bit.
    timestamps = tuple((times[i] + times[i + temporal - 1]) / 2 for i in range(0, len(times), temporal))
    grid = (steps, height // geometry.patch_size, width // geometry.patch_size)
    return MediaLayout("video", indices, height, width, grid, grid[1] * grid[2] // geometry.merge_size**2, timestamps)


def lay_out_image(header: MediaHeader, sampling: SamplingPlan, geometry: VisionGeometry) -> MediaLayout:
    """Return the layout of an image: one temporal step, no timestamp."""
    high = min(geometry.image_max_pixels, sampling.max_pixels or geometry.image_max_pixels)
    factor = geometry.patch_size * geometry.merge_size
    budget = (min(geometry.image_min_pixels, high), high)
    height, width = fit(1, header.height, header.width, factor=factor, budget=budget)
    grid = (1, height // geometry.patch_size, width // geometry.patch_size)
    return MediaLayout("image", (0,), height, width, grid, grid[1] * grid[2] // geometry.merge_size**2, ())


def lay_out(header: MediaHeader, sampling: SamplingPlan, geometry: VisionGeometry) -> MediaLayout:
    """Return the layout of a medium of either kind."""
    make = lay_out_video if header.kind == "video" else lay_out_image
    return make(header, sampling, geometry)
