"""The confusion matrix is a picture that can be opened, with a column for what is no answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tao_runtime.errors import InputError
from tao_runtime.score.metrics import score
from tao_runtime.score.picture import _axes, draw_confusion
from tao_runtime.score.results import Result

pytest.importorskip("matplotlib")


def rows(*pairs: tuple[str, str]) -> list[Result]:
    return [Result(video_id="v", response=said, question="?", gt=gt) for said, gt in pairs]


def test_draws_a_png(tmp_path: Path) -> None:
    draw_confusion(score(rows(("yes", "yes"), ("no", "yes"), ("hm", "no"))), tmp_path / "matrix.png", title="round 1")
    with Image.open(tmp_path / "matrix.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.png"]


def test_unparseable_is_always_a_column_and_comes_last() -> None:
    report = score(rows(("left", "left"), ("straight", "right")))
    assert _axes(report) == (["left", "right"], ["left", "right", "straight", "UNPARSEABLE"])


def test_text_has_no_matrix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 classes"):
        draw_confusion(score(rows(("a car", "a red car"))), tmp_path / "matrix.png")
    assert not list(tmp_path.iterdir())
