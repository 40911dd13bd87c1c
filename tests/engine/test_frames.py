"""Decoding and its cache, on real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from factory import make_clip

torch = pytest.importorskip("torch")

from tao_runtime.data.media import probe_header
from tao_runtime.data.vision import MediaLayout, SamplingPlan, VisionGeometry, lay_out
from tao_runtime.engine.frames import DecodeError, FrameCache, decode_video, load_frames


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4")


def layout_of(path: Path, **sampling: int) -> MediaLayout:
    header = probe_header(path, "video")
    return lay_out(
        header, SamplingPlan(**sampling), VisionGeometry(video_min_pixels=1024, video_max_pixels=64 * 64 * 16)
    )


def test_chosen_frames_are_those_of_a_whole_decode(clip: Path) -> None:
    every = decode_video(clip, range(16))
    assert every.shape == (16, 64, 64, 3)
    assert np.array_equal(decode_video(clip, (0, 5, 15)), every[[0, 5, 15]])


def test_frames_that_do_not_exist_are_named(clip: Path) -> None:
    with pytest.raises(DecodeError, match=r"clip\.mp4: frame 16 does not decode"):
        decode_video(clip, (0, 16))


@pytest.mark.parametrize("content", [b"", b"not a video"], ids=["empty", "text"])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(DecodeError, match=r"bad\.mp4: cannot be decoded"):
        decode_video(tmp_path / "bad.mp4", (0,))


def test_the_second_epoch_decodes_nothing(clip: Path) -> None:
    cache = FrameCache(budget_bytes=1 << 20)
    first, second = (cache.load(clip, layout_of(clip, num_frames=8)) for _ in range(2))
    assert second is first
    assert (cache.hits, cache.misses) == (1, 1)
    assert cache.used_bytes == 8 * 3 * 64 * 64


def test_the_budget_is_kept(clip: Path) -> None:
    cache = FrameCache(budget_bytes=8 * 3 * 64 * 64 - 1)
    cache.load(clip, layout_of(clip, num_frames=8))
    assert cache.used_bytes == 0


def test_other_sampling_or_content_is_another_entry(clip: Path) -> None:
    cache = FrameCache(budget_bytes=1 << 20)
    eight = cache.load(clip, layout_of(clip, num_frames=8))
    assert len(cache.load(clip, layout_of(clip, num_frames=4))) == 4
    make_clip(clip, direction="up") if "direction" in make_clip.__annotations__ else clip.touch()
    assert cache.load(clip, layout_of(clip, num_frames=8)) is not eight
    assert cache.hits == 0


def test_resizing_gives_what_the_layout_says(clip: Path) -> None:
    layout = layout_of(clip, num_frames=4, total_pixels=4 * 32 * 32)
    assert load_frames(clip, layout).shape == (4, 3, layout.height, layout.width) == (4, 3, 32, 32)
