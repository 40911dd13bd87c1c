"""A run that names a report starts only if what was judged is what runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory import make_record, write_annotations
from project import Project
from structured import StructuredProject
from tao_runtime.errors import InputError
from tao_runtime.preflight.receipt import judge_receipt
from tao_runtime.preflight.report import Report


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Project(tmp_path / "project")


def report_of(project: Project, *overrides: str) -> Report:
    return project.prepare(*overrides).report


def kept(report: Report, path: Path, **changes: object) -> Path:
    path.write_text(json.dumps({**json.loads(report.model_dump_json(by_alias=True)), **changes}))
    return path


def where(receipt: Path, now: Report) -> list[str]:
    return [finding.where for finding in judge_receipt(receipt, now)]


def test_a_fresh_report_holds(project: Project, tmp_path: Path) -> None:
    receipt = kept(report_of(project), tmp_path / "report.json")
    assert where(receipt, report_of(project)) == []


def test_what_changed_is_named(project: Project, tmp_path: Path) -> None:
    report = report_of(project)
    receipt = kept(report, tmp_path / "report.json")
    assert where(receipt, report_of(project, "train.seed=77")) == ["spec"]
    assert where(kept(report, tmp_path / "bad.json", ok=False), report) == ["report"]
    other = {**report.facts, "environment": {**report.facts["environment"], "torch": "1.0"}}  # type: ignore[dict-item]
    assert where(kept(report, tmp_path / "env.json", facts=other), report) == ["environment.torch"]
    root = Path(report.facts["datasets"]["train"]["annotation"]).parent  # type: ignore[index,call-overload,arg-type]
    write_annotations(root, [*json.loads((root / "annotations.json").read_text()), make_record(0, id="one more")])
    assert where(receipt, report_of(project)) == ["datasets.train"]


def test_a_clip_of_the_same_size_is_another_clip(project: Project, tmp_path: Path) -> None:
    receipt, clip = kept(report_of(project), tmp_path / "report.json"), project.train / "clip_1.mp4"
    clip.write_bytes(clip.read_bytes()[:-1] + b"x")
    assert where(receipt, report_of(project)) == ["datasets.train"]


def test_a_file_that_is_no_report_is_refused(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("[]")
    for path in (other, tmp_path / "none.json"):
        with pytest.raises(InputError, match="want the output of check --json"):
            judge_receipt(path, report_of(project))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("gone", [False, True])
def test_another_base_in_the_same_place_is_named(project: Project, tmp_path: Path, name: str, gone: bool) -> None:
    receipt, file = kept(report_of(project), tmp_path / "report.json"), project.model / name
    data = file.read_bytes()
    if gone:
        file.unlink()
    else:
        file.write_bytes(data[:-1] + (b"\n" if name.endswith("json") else b"\1"))
    assert "models.model" in where(receipt, report_of(project))
    file.write_bytes(data)
    assert where(receipt, report_of(project)) == []


def test_a_base_that_was_fetched_since_is_no_change(project: Project, tmp_path: Path) -> None:
    report = report_of(project)
    models = {"model": {**report.facts["models"]["model"], "files_sha256": None}}  # type: ignore[dict-item,index,call-overload]
    assert where(kept(report, tmp_path / "r.json", facts={**report.facts, "models": models}), report) == []


def test_a_base_that_is_one_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    world = StructuredProject(tmp_path / "world", "cosmos_predict2")
    receipt = kept(world.report(), tmp_path / "report.json")
    assert where(receipt, world.report()) == []
    world.vae.write_bytes(b"WEIGHTS")
    assert where(receipt, world.report()) == ["models.tokenizer"]
