"""Frames and sizes equal what the library's processors make of the same media; worked numbers where it has none."""

from __future__ import annotations

import ast
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tao_runtime.data.facts import MediaHeader, VisionGeometry
from tao_runtime.data.vision import SamplingPlan, fit, lay_out, sample_frames

SIDES = st.integers(1, 4000)
MODULES = {
    "video": "qwen3_vl.video_processing_qwen3_vl",
    "image": "qwen2_vl.image_processing_qwen2_vl",
}


def library_resize(kind: str) -> Callable[..., tuple[int, int]]:
    """The library's own `smart_resize`, taken out of its file: importing the module needs torchvision."""
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        pytest.skip("transformers is not installed")
    path = Path(package.origin).parent / "models" / f"{MODULES[kind].replace('.', '/')}.py"
    tree = ast.parse(path.read_text())
    [function] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "smart_resize"]
    names: dict[str, object] = {"math": math}
    exec(compile(ast.Module([function], []), str(path), "exec"), names)
    return names["smart_resize"]  # type: ignore[return-value]


def video(num_frames: int = 16, *, height: int = 64, width: int = 64, fps: float = 8.0) -> MediaHeader:
    return MediaHeader(Path("a.mp4"), "video", width, height, num_frames, fps, "h264", 1)


def image(height: int, width: int) -> MediaHeader:
    return MediaHeader(Path("a.png"), "image", width, height, 1, 0.0, "png", 1)


@given(height=SIDES, width=SIDES, frames=st.integers(2, 64), high=st.integers(1, 2000), low=st.integers(1, 500))
def test_a_video_is_resized_as_the_library_does(height: int, width: int, frames: int, high: int, low: int) -> None:
    assume(max(height, width) <= 150 * min(height, width))
    assume(low <= high)
    geometry = VisionGeometry(video_min_pixels=low * 1024, video_max_pixels=high * 1024)
    expected = library_resize("video")(
        frames, height, width, factor=32, min_pixels=low * 1024, max_pixels=high * 1024, temporal_factor=2
    )
    layout = lay_out(video(frames, height=height, width=width), SamplingPlan(num_frames=frames), geometry)
    assert (layout.height, layout.width) == expected


@given(height=SIDES, width=SIDES, high=st.integers(64, 9000))
def test_an_image_is_resized_as_the_library_does(height: int, width: int, high: int) -> None:
    assume(max(height, width) <= 200 * min(height, width))
    geometry = VisionGeometry(image_max_pixels=high * 1024)
    expected = library_resize("image")(height, width, factor=32, min_pixels=65536, max_pixels=high * 1024)
    layout = lay_out(image(height, width), SamplingPlan(), geometry)
    assert (layout.height, layout.width) == expected
    assert (layout.grid_thw[0], layout.timestamps_s) == (1, ())


@pytest.mark.parametrize(
    ("frames", "size", "budget", "expected"),
    [
        (8, (64, 64), (0, 8 * 4096), (64, 64)),  # already fits
        (8, (80, 80), (0, 10**9), (64, 64)),  # 2.5 tokens: half to even, down
        (8, (112, 112), (0, 10**9), (128, 128)),  # 3.5 tokens: half to even, up
        (8, (128, 128), (0, 8 * 4096), (64, 64)),  # four times too large
        (8, (32, 32), (8 * 4096, 10**9), (64, 64)),  # four times too small
        (2, (100, 300), (0, 2 * 16384), (64, 192)),  # shrink sqrt(30000 / 16384) = 1.353 -> 73x221
        (5, (64, 64), (0, 4 * 4096), (64, 64)),  # 5 frames count as 4
        (2, (1000, 40), (0, 2048), (160, 32)),  # shrink 6.25 -> 160x6.4; no side below 32, whatever the budget
    ],
)
def test_worked_sizes(frames: int, size: tuple[int, int], budget: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit(frames, *size, factor=32, budget=budget, temporal=2) == expected


@given(
    header=st.builds(
        video, st.integers(1, 400), height=st.integers(8, 1500), width=st.integers(8, 1500), fps=st.floats(1, 120)
    ),
    sampling=st.builds(
        SamplingPlan,
        num_frames=st.none() | st.integers(1, 64),
        fps=st.none() | st.floats(0.1, 60),
        max_frames=st.none() | st.integers(1, 40),
        max_pixels=st.none() | st.integers(1024, 10**6),
        total_pixels=st.none() | st.integers(1024, 10**7),
    ),
)
def test_laws_of_a_layout(header: MediaHeader, sampling: SamplingPlan) -> None:
    geometry = VisionGeometry(video_min_pixels=1024)
    layout = lay_out(header, sampling, geometry)
    steps, rows, columns = layout.grid_thw
    assert list(layout.frame_indices) == sorted(set(layout.frame_indices))
    assert layout.frame_indices[0] == 0 and layout.frame_indices[-1] < header.num_frames
    assert layout.height % 32 == layout.width % 32 == 0
    assert (rows * 16, columns * 16) == (layout.height, layout.width)
    assert steps == -(-len(layout.frame_indices) // 2) == len(layout.timestamps_s)
    assert layout.num_tokens == steps * rows * columns // 4
    high = sampling.total_pixels or geometry.video_max_pixels  # the spec may raise what the processor allows
    frames = max(2, len(layout.frame_indices))
    counted = min(frames, round(frames / 2) * 2)  # 5 frames count as 4, as in the library
    assert counted * layout.height * layout.width <= high or 32 in (layout.height, layout.width)


@given(total=st.integers(1, 3000), count=st.integers(1, 800))
def test_frames_are_those_of_the_library(total: int, count: int) -> None:
    # Qwen3VLVideoProcessor.sample_frames: a rounded linspace from the first frame to the last
    expected = np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()
    found = sample_frames(video(total), SamplingPlan(num_frames=count), VisionGeometry())
    assert list(found) == expected


@given(total=st.integers(1, 3000), rate=st.floats(1, 60), fps=st.floats(0.1, 60))
def test_frames_per_second_are_those_of_the_library(total: int, rate: float, fps: float) -> None:
    geometry = VisionGeometry()
    count = min(max(int(total / rate * fps), geometry.min_frames), geometry.max_frames, total)
    found = sample_frames(video(total, fps=rate), SamplingPlan(fps=fps), geometry)
    assert list(found) == np.linspace(0, total - 1, count).round().astype(int).tolist()


@pytest.mark.parametrize(
    ("sampling", "frames"),
    [
        (SamplingPlan(num_frames=4), (0, 5, 10, 15)),
        (SamplingPlan(num_frames=1), (0,)),
        (SamplingPlan(num_frames=99), tuple(range(16))),  # never a frame twice
        (SamplingPlan(fps=2), (0, 5, 10, 15)),  # 2 s of video
        (SamplingPlan(fps=1), (0, 5, 10, 15)),  # 2 frames, and the processor's least is 4
        (SamplingPlan(fps=1, min_frames=2), (0, 15)),
        (SamplingPlan(fps=4, max_frames=3), (0, 8, 15)),  # 7.5 goes to even
        (SamplingPlan(num_frames=8, max_frames=2), (0, 15)),
        (SamplingPlan(), (0, 5, 10, 15)),  # no key: 2 frames per second
    ],
)
def test_worked_frames(sampling: SamplingPlan, frames: tuple[int, ...]) -> None:
    assert sample_frames(video(16), sampling, VisionGeometry()) == frames


def test_an_odd_last_frame_is_paired_with_itself() -> None:
    layout = lay_out(video(16), SamplingPlan(num_frames=3), VisionGeometry())
    assert layout.frame_indices == (0, 8, 15)
    assert layout.grid_thw[0] == 2
    assert layout.timestamps_s == (0.5, 1.875)  # (0 + 8) / 2 / 8 and 15 / 8


def test_one_frame_is_a_step() -> None:
    layout = lay_out(video(1), SamplingPlan(num_frames=8), VisionGeometry())
    assert (layout.frame_indices, layout.grid_thw[0], layout.timestamps_s) == ((0,), 1, (0.0,))


def test_limits_of_the_spec_narrow_those_of_the_processor() -> None:
    geometry = VisionGeometry()
    clip = video(8, height=1024, width=1024)
    plain, per_frame, total = (
        lay_out(clip, SamplingPlan(num_frames=8, **limits), geometry)
        for limits in ({}, {"max_pixels": 128 * 128}, {"total_pixels": 8 * 64 * 64})
    )
    assert (plain.height, per_frame.height, total.height) == (288, 128, 64)  # sqrt(786432 / 8) = 313
    small = lay_out(video(8), SamplingPlan(num_frames=8, min_pixels=256 * 256), geometry)
    assert small.height == 256
    picture = lay_out(image(1024, 1024), SamplingPlan(max_pixels=512 * 512), geometry)
    assert (picture.height, picture.num_tokens) == (512, 256)


@pytest.mark.parametrize("fps", [10.0, 30.0, 60.0, 30000 / 1001])
def test_printed_times_are_those_of_the_library(fps: float) -> None:
    # (a / fps + b / fps) / 2 and (a + b) / 2 / fps differ in the last bit, and at 10 fps that is in the prompt
    layout = lay_out(video(700, fps=fps), SamplingPlan(num_frames=99), VisionGeometry())
    indices = [*layout.frame_indices, layout.frame_indices[-1]]
    expected = [f"{(one / fps + other / fps) / 2:.1f}" for one, other in zip(indices[::2], indices[1::2], strict=True)]
    assert [f"{second:.1f}" for second in layout.timestamps_s] == expected
