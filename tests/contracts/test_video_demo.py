"""The demo of a video generator ends with a model that shows what its captions ask for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runs import tao

pytest.importorskip("torch")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["cosmos_predict2", "cosmos_predict1", "cosmos3_vision"])
def test_the_trained_model_follows_its_captions(family: str, tmp_path: Path) -> None:
    """The base is right by chance, 4 of 16; the trained one nearly always."""
    said = tao("demo", family, "--out", str(tmp_path / "demo"), cwd=tmp_path).stdout
    rows = {
        name: tuple(map(int, right)) for name, *right in re.findall(r"(base|trained)\s+\d+\s+(\d+)/16\s+(\d+)/16", said)
    }
    assert max(rows["base"]) <= 9
    assert min(rows["trained"]) >= 14


@pytest.mark.slow
def test_the_trained_reasoner_scores_clips_it_never_saw(tmp_path: Path) -> None:
    said = tao("demo", "cosmos3_reasoner", "--out", str(tmp_path / "demo"), cwd=tmp_path).stdout
    rights = dict(re.findall(r"(base|trained)\s+\d+\s+([\d.]+)%", said))
    assert float(rights["base"]) <= 40
    assert float(rights["trained"]) >= 90
