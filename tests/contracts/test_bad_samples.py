"""A clip that preflight could not see through: counted against a budget and named; over budget the run stops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from runs import tao, write_train_spec

pytest.importorskip("torch")


@pytest.fixture
def damaged(demo_material: Path, tmp_path: Path) -> Path:
    """The training set with one clip whose header is whole and whose frames are not."""
    shutil.copytree(demo_material, tmp_path / "material")
    clip = sorted((tmp_path / "material/train/clips").iterdir())[0]
    content = bytearray(clip.read_bytes())
    start = content.index(b"mdat") + 4
    length = min(len(content) - start, 1200)
    content[start : start + length] = bytes(length)
    clip.write_bytes(content)
    return tmp_path / "material"


def test_over_budget_the_run_stops_and_names_the_clip(damaged: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", damaged, tmp_path / "run")
    done = tao("train", "--spec", str(spec), cwd=tmp_path, want=3)
    assert "train-0000.mp4" in done.stderr
    assert "train.bad_sample_budget" in done.stderr
    assert not (tmp_path / "run/run.json").exists()


def test_within_budget_it_is_counted(damaged: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", damaged, tmp_path / "run", train__bad_sample_budget=2)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    assert json.loads((tmp_path / "run/run.json").read_text())["bad_samples"] == 2
