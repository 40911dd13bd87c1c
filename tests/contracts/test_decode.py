"""A law of every family: `check --decode` decodes what the run will, and names a clip whose body is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory import make_clip
from project import Project
from structured import StructuredProject
from tao_runtime.data.clips import Window, decide
from tao_runtime.plan.decoding import planned_frames
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.prepare import Prepared, decode_media
from tao_runtime.spec.families import FAMILIES

ACTIONS = [(family, action) for family in FAMILIES for action in ("train", "evaluate")]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def project_of(root: Path, family: str) -> Project | StructuredProject:
    return Project(root) if family == "cosmos_reason" else StructuredProject(root, family)


def damage(path: Path) -> None:
    """Overwrite the frames of a clip: header and size stay right."""
    make_clip(path, num_frames=64, faststart=True)
    head, mark, body = path.read_bytes().partition(b"mdat")
    path.write_bytes(head + mark + b"\xff" * len(body))


def damaged(prepared: Prepared) -> Path:
    """Damage the last clip of the data set that is trained on, or asked about."""
    (data,) = [data for label, data in prepared.facts.datasets.items() if label in ("train", "eval")]
    path = max(header.path for header in data.media if header is not None)
    damage(path)
    return path


@pytest.mark.parametrize(("family", "action"), ACTIONS)
def test_a_damaged_body_is_found_before_the_run(tmp_path: Path, family: str, action: str) -> None:
    project = project_of(tmp_path, family)
    path = damaged(project.prepare(action=action, nproc=1))
    prepared = project.prepare(action=action, nproc=1)
    assert not [one for one in prepared.report.findings if one.file == str(path) and one.severity == "error"]
    report = decode_media(prepared, 1.0).report
    (found,) = [one for one in report.findings if one.rule in ("media/undecodable", "media/frames-missing")]
    assert (found.file, report.ok) == (str(path), False)
    assert report.counts.decoded == len(planned_frames(prepared.plan, prepared.facts)) > 0


@pytest.mark.parametrize("family", ["cosmos3_vision", "cosmos_predict1", "cosmos_predict2"])
def test_every_frame_that_any_draw_takes_is_decoded(tmp_path: Path, family: str) -> None:
    prepared = StructuredProject(tmp_path, family).prepare(nproc=1)
    plan = prepared.plan
    assert isinstance(plan, TrainPlan) and plan.data.clips is not None
    frames, rules = planned_frames(plan, prepared.facts), plan.data.clips
    for (label, medium), planned in frames.items():
        header = prepared.facts.datasets[label].media[medium]
        assert header is not None and planned == tuple(sorted(set(planned)))
        for draw in range(20):
            clip = decide(header, Window(0, header.num_frames - 1), rules, draw=draw / 20)
            assert {clip.indices[0], clip.indices[-1]} <= {*range(planned[0], planned[-1] + 1)}  # type: ignore[union-attr]
