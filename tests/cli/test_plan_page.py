"""The page of a plan says what a run will do: steps, visits, warm-up, saves, validations."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from project import Project
from structured import StructuredProject
from tao_runtime.cli.app import app


def page(path: Path, *overrides: str) -> str:
    result = CliRunner().invoke(app, ["plan", "--spec", str(path), *overrides], env={"COLUMNS": "400"})
    return " ".join(result.stdout.split())


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_epochs(tmp_path: Path) -> None:
    spec = Project(tmp_path / "project").spec()
    text = page(spec, "train.optm_warmup_steps=7", "validation.freq=20")
    assert "50 = 5 an epoch x 10 epochs" in text and "warm-up 7 steps" in text
    assert "every 5 steps, 10 times" in text and "validation every 20 steps, 3 times" in text
    assert "none: the run is not saved" in page(spec, "train.ckpt.enable_checkpoint=false")


@pytest.mark.parametrize(("family", "visits"), [("cosmos3_reasoner", "62.5"), ("cosmos_predict2", "83.3")])
def test_steps(tmp_path: Path, family: str, visits: str) -> None:
    text = page(StructuredProject(tmp_path / "project", family).path("train"))
    assert f"each sample visited about {visits} times" in text and "warm-up 10 steps" in text
    assert "every 100 steps, 5 times" in text
