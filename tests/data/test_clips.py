"""Which frames, at which size, or why none: one predicate, against upstream's own arithmetic and worked numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tao_runtime.data.clips import Clip, ClipRules, Drop, LatentGeometry, Window, cover, decide, nearest_size, starts
from tao_runtime.data.cosmos3_vision import LATENT, SIZES
from tao_runtime.data.facts import MediaHeader

CV8 = LatentGeometry(channels=16, temporal=8, spatial=8, patch=2)


def header(
    frames: int, *, fps: float = 24.0, width: int = 1920, height: int = 1080, kind: str = "video"
) -> MediaHeader:
    return MediaHeader(Path("a.mp4"), kind, width, height, frames, fps, "h264", 1)  # type: ignore[arg-type]


def rules(**changes: object) -> ClipRules:
    return ClipRules(**{"sizes": SIZES["256"], "num_frames": None, "unit": "clip", "latent": LATENT, **changes})  # type: ignore[arg-type]


def test_worked_numbers() -> None:
    clip = decide(header(100), Window(10, 90, 2), rules())
    # 81 frames every second: 41 = 4 x 10 + 1; 11 latent frames of 6 x 10 tokens
    assert clip == Clip(10, 2, 41, 192, 320, 12.0, 660)
    assert isinstance(clip, Clip) and (clip.indices[0], clip.indices[-1], len(clip.indices)) == (10, 90, 41)
    assert (CV8.frames(121), CV8.fit(128), CV8.takes(121), CV8.takes(93)) == (16, 121, True, False)
    assert LATENT.shape(93, 704, 1280) == (48, 24, 44, 80)


@pytest.mark.parametrize(
    ("drop", "given", "window", "changes"),
    [
        (Drop("no-video"), None, Window(0, 9), {}),
        (Drop("no-video"), header(1, kind="image"), Window(0, 9), {}),
        (Drop("too-long", 100.0, 61.0), header(2400), Window(0, 9), {"max_duration_s": 61.0}),
        (Drop("empty-window", 30, 24), header(24), Window(30, 40), {}),
        (Drop("too-short", 4, 5), header(24), Window(20, 40), {"min_frames": 5}),
        (Drop("too-short", 24, 93), header(24), Window(0, 2**31 - 1), {"num_frames": 93}),
        (Drop("too-short", 100, 185), header(100), Window(0, 99), {"num_frames": 93, "interval": 2}),
        (Drop("too-many-tokens", 1500, 1499), header(97), Window(0, 96), {"max_tokens": 1499}),
    ],
)
def test_every_reason_is_told_with_both_numbers(drop: Drop, given: MediaHeader, window: Window, changes: dict) -> None:
    assert decide(given, window, rules(**changes)) == drop


@given(st.integers(1, 300), st.integers(0, 320), st.integers(0, 320), st.integers(1, 5))
def test_a_window_as_it_is_equals_upstream(frames: int, first: int, last: int, interval: int) -> None:
    """`resolve_sft_window_framing` with num_video_frames = -1."""
    end = min(last, frames - 1)
    got = decide(header(frames), Window(first, last, interval), rules())
    if end - first + 1 <= 0:
        assert isinstance(got, Drop)
        return
    sampled = (end - first) // interval + 1
    assert isinstance(got, Clip) and got.num_frames == (sampled - 1) // 4 * 4 + 1
    assert got.indices[-1] <= end and got.start == first


@given(st.integers(1, 300), st.floats(1, 120), st.floats(0, 0.999), st.sampled_from(["first", "center", "random"]),
       st.sampled_from(["force_one", "max_30fps", "entire_chunk"]))  # fmt: skip
def test_a_fixed_length_never_leaves_the_window(frames: int, fps: float, draw: float, where: str, mode: str) -> None:
    chosen = rules(num_frames=17, selection=where, interval_mode=mode)
    got = decide(header(frames, fps=fps), Window(3, 200), chosen, draw=draw)
    if isinstance(got, Clip):
        assert got.num_frames == 17 and got.indices[0] >= 3 and got.indices[-1] <= min(200, frames - 1)
        assert mode != "max_30fps" or got.fps < 60
    else:
        assert got.reason in {"too-short", "empty-window"}


def test_every_start_of_a_clip_is_a_sample_and_a_clip_of_the_exact_length_has_one() -> None:
    fixed = rules(num_frames=17, latent=CV8, unit="start", sizes=((64, 64),), start_interval=4)
    assert [window.first for window in starts(header(30), fixed)] == [0, 4, 8, 12]
    assert [window.first for window in starts(header(17), fixed)] == [0]
    assert starts(header(16), fixed) == []
    every_other = fixed.model_copy(update={"interval": 2, "start_interval": 1})
    assert [(one.first, one.last) for one in starts(header(34), every_other)] == [(0, 32), (1, 33)]


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(1080, 1920, (192, 320)), (1920, 1080, (320, 192)), (480, 640, (256, 320)), (512, 512, (256, 256))],
)
def test_a_clip_gets_the_size_nearest_to_its_shape(height: int, width: int, size: tuple[int, int]) -> None:
    assert nearest_size(height, width, SIZES["256"]) == size
    resized, (top, left) = cover(height, width, size)
    assert resized[0] >= size[0] and resized[1] >= size[1] and top >= 0 and left >= 0
    assert top + size[0] <= resized[0] and left + size[1] <= resized[1]
