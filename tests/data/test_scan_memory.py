"""A scan that is remembered is the scan that would be made, and is forgotten when anything it saw has changed."""

from __future__ import annotations

import os
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from factory import make_dataset, make_record, write_annotations
from tao_runtime.data import scan_memory
from tao_runtime.data.facts import DatasetFacts, RecordColumns
from tao_runtime.data.probe import probe_dataset, scans_path
from tao_runtime.spec.base import DatasetRef


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Forty records, one of them wrong, last changed an hour ago; every scan is worth remembering."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(scan_memory, "MIN_RECORDS", 1)
    folder = make_dataset(tmp_path / "data", 4)
    records = [make_record(number % 4, id=str(number), video_fps=99.0 * (number == 1)) for number in range(40)]
    write_annotations(folder, [*records, {"id": "no turns"}])
    settle(folder)
    return folder


def settle(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 3600,) * 2)


def look(root: Path) -> DatasetFacts:
    return probe_dataset(DatasetRef("train", str(root), "", "data.annotation_path", "data.media_path"))


def told(facts: DatasetFacts) -> list[str]:
    return [finding.render() for finding in facts.findings]


def scanned(root: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a look at the data set scans it."""
    calls = []
    from tao_runtime.data import probe

    whole = probe.scan_annotations
    monkeypatch.setattr(probe, "scan_annotations", lambda *a, **o: calls.append(1) or whole(*a, **o))
    look(root)
    return bool(calls)


def test_what_is_remembered_equals_a_scan(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = look(root)
    assert first.findings and len(list(scans_path().glob("*.npz"))) == 1
    assert not scanned(root, monkeypatch)
    again = look(root)
    assert (again.sha256, again.media, again.cuts, told(again)) == (first.sha256, first.media, first.cuts, told(first))
    for column in fields(RecordColumns):
        ours, theirs = getattr(again.columns, column.name), getattr(first.columns, column.name)
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs), column.name


@pytest.mark.parametrize("change", ["annotation", "medium", "medium-gone", "code", "damaged"])
def test_a_change_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    look(root)
    medium = next(root.rglob("*.mp4"))
    match change:
        case "annotation":
            os.utime(root / "annotations.json", (time.time() - 1800,) * 2)
        case "medium":
            medium.write_bytes(medium.read_bytes() + b"x")
        case "medium-gone":
            medium.unlink()
        case "code":
            monkeypatch.setattr(scan_memory, "_code", lambda: "other rules")
        case "damaged":
            [kept] = scans_path().glob("*.npz")
            kept.write_bytes(kept.read_bytes()[:-100])
    assert scanned(root, monkeypatch)


def test_a_file_that_has_just_changed_is_not_remembered(root: Path) -> None:
    (root / "annotations.json").touch()
    look(root)
    assert not list(scans_path().glob("*.npz"))


def test_the_oldest_scans_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_memory, "MAX_KEPT", 2)
    for number in range(4):
        probe_dataset(DatasetRef(f"train{number}", str(root), "", "a", "b"))
    assert len(list(scans_path().glob("*.npz"))) == 2
