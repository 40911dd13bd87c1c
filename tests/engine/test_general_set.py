"""The general set shows what its answers say: pixels are counted, not trusted."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tao_runtime.data.decode import decode_video
from tao_runtime.engine.demo.clips import DIRECTIONS, FRAMES
from tao_runtime.engine.general_set import COLOURS, COUNTS, TOPICS, draw_picture, make_general_set
from tao_runtime.errors import InputError
from tao_runtime.score.answer import detect_kind


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("general")
    assert make_general_set(folder, per_question=8) == 8 * len(TOPICS)
    return folder


def records(folder: Path) -> list[dict]:
    return json.loads((folder / "annotations.json").read_text())


def truth(record: dict) -> str:
    return record["conversations"][1]["value"]


def test_answers_are_letters_each_as_often(general: Path) -> None:
    truths = [truth(record) for record in records(general)]
    assert detect_kind(truths) == "choice"
    assert [truths.count(letter) for letter in "ABCD"] == [6, 6, 6, 6]
    assert len({record["id"] for record in records(general)}) == 24


def squares(pixels_HWC: np.ndarray) -> int:
    """How many filled rectangles there are: their upper left corners."""
    lit = np.pad(pixels_HWC.max(2) > 100, 1)
    return int((lit[1:-1, 1:-1] & ~lit[:-2, 1:-1] & ~lit[1:-1, :-2]).sum())


def test_pictures_show_what_is_true(general: Path) -> None:
    for record in records(general):
        if "image" not in record:
            continue
        pixels_HWC = np.asarray(Image.open(general / record["image"]))
        choice = "ABCD".index(truth(record))
        if record["id"].startswith("count"):
            assert squares(pixels_HWC) == choice + 1
        else:
            lit = pixels_HWC[pixels_HWC.max(2) > 100]
            assert squares(pixels_HWC) == 1
            assert (lit == list(COLOURS.values())[choice]).all()


def test_clips_move_as_is_true(general: Path) -> None:
    for record in records(general):
        if "video" not in record:
            continue
        ends = decode_video(general / record["video"], [0, FRAMES - 1]).max(-1) > 100
        rows, columns = ([float(axis.mean()) for axis in np.nonzero(end)] for end in ends)
        (down_0, right_0), (down_1, right_1) = rows, columns
        moved = {"left": right_0 - right_1, "right": right_1 - right_0, "up": down_0 - down_1, "down": down_1 - down_0}
        assert max(moved, key=lambda name: moved[name]) == DIRECTIONS["ABCD".index(truth(record))]


def test_the_same_seed_draws_the_same(general: Path, tmp_path: Path) -> None:
    make_general_set(tmp_path, per_question=8)
    files = sorted(path.relative_to(general) for path in general.rglob("*") if path.is_file())
    assert all((tmp_path / name).read_bytes() == (general / name).read_bytes() for name in files)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in files}
    assert make_general_set(tmp_path, per_question=8) == 24  # complete: left as it is
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in files} == before


@pytest.mark.parametrize("other", [{"per_question": 9}, {"per_question": 8, "seed": 1}])
def test_a_set_of_another_size_or_seed_is_refused(general: Path, other: dict[str, int]) -> None:
    with pytest.raises(InputError, match="want"):
        make_general_set(general, **other)


def test_annotations_of_others_are_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text("[{}]")
    with pytest.raises(InputError, match="new folder"):
        make_general_set(tmp_path, per_question=8)
    assert [path.name for path in tmp_path.iterdir()] == ["annotations.json"]


def test_a_set_that_was_stopped_is_finished(general: Path, tmp_path: Path) -> None:
    make_general_set(tmp_path, per_question=8)
    (tmp_path / "annotations.json").unlink()
    make_general_set(tmp_path, per_question=8)
    assert (tmp_path / "annotations.json").read_bytes() == (general / "annotations.json").read_bytes()


def test_squares_never_touch() -> None:
    rng = random.Random(3)
    for _ in range(200):
        count = rng.randint(1, len(COUNTS))
        assert squares(draw_picture("blue", count, rng)) == count
