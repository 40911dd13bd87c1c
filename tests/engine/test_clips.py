"""Windows of real files at the size of a bucket."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image

from tao_runtime.engine.clips import cover_and_crop, load_clip
from tao_runtime.engine.demo.captioned_clips import MOTIONS, draw_set, seen_motion
from tao_runtime.engine.frames import DecodeError
from tao_runtime.engine.video_file import write_video


@pytest.fixture
def file(tmp_path: Path) -> Path:
    clips, _ = draw_set(1, 3)
    write_video(tmp_path / "clip.mp4", clips[0], fps=8)
    return tmp_path / "clip.mp4"


def test_a_window_has_the_frames_asked_for(file: Path) -> None:
    whole = load_clip(file, range(17), height=64, width=64)
    window = load_clip(file, [4, 8, 12], height=64, width=64)
    assert whole.shape == (17, 64, 64, 3)
    assert torch.equal(window, whole[[4, 8, 12]])


def test_covering_keeps_the_middle_and_cuts_both_sides_alike() -> None:
    columns = torch.arange(40, dtype=torch.uint8).view(1, 1, 40, 1).expand(2, 20, 40, 3)
    cut = cover_and_crop(columns, height=20, width=20)
    assert cut[0, 0, :, 0].tolist() == list(range(10, 30))
    rows = columns.transpose(1, 2)
    assert cover_and_crop(rows, height=20, width=20)[0, :, 0, 0].tolist() == list(range(10, 30))


@pytest.mark.parametrize("size", [(1080, 1920), (1920, 1080), (191, 321), (50, 50)], ids=str)
def test_any_source_fills_the_bucket(size: tuple[int, int]) -> None:
    white = torch.full((1, *size, 3), 255, dtype=torch.uint8)
    made = cover_and_crop(white, height=192, width=320)
    assert made.shape == (1, 192, 320, 3)
    assert made.min() == 255  # no border


def test_an_image_is_one_frame(tmp_path: Path) -> None:
    Image.fromarray(np.full((30, 60, 3), 7, np.uint8)).save(tmp_path / "image.png")
    assert load_clip(tmp_path / "image.png", [0], height=16, width=16).shape == (1, 16, 16, 3)


def test_a_frame_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(DecodeError, match="frame 17 does not decode"):
        load_clip(file, [16, 17], height=64, width=64)


def test_the_measure_sees_what_was_drawn() -> None:
    clips, captions = draw_set(64, 11)
    assert [seen_motion(clip).caption for clip in clips] == captions
    assert sorted(captions) == sorted(motion.caption for motion in MOTIONS for _ in range(4))


def test_the_measure_sees_nothing_on_an_empty_or_a_still_clip() -> None:
    clip = draw_set(1, 3)[0][0]
    assert seen_motion(np.full_like(clip, 24)).colour is None
    gone = clip.copy()
    gone[0] = 24
    assert seen_motion(gone).direction is None
