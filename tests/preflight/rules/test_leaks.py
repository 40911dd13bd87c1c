"""Leaks between training and validation: copies, clips of one source, and the split that ends them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from factory import make_clip, make_record, write_annotations
from project import Project
from tao_runtime.errors import Finding

NAMES = ("vJk3x9Q_0_10", "vJk3x9Q_10_20", "Qrs7Tu8_0_10", "Qrs7Tu8_10_20", "Abc4De5_0_10", "Fgh6Ij7_0_10")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Project(tmp_path)


def leaks(project: Project) -> list[Finding]:
    return [one for one in project.prepare().report.findings if one.rule.startswith("dataset/train-val")]


def name_clips(root: Path, names: tuple[str, ...], *, seed: int = 0, records: int = 20) -> None:
    for number, name in enumerate(names):
        make_clip(root / f"{name}.mp4", seed=seed + number)
    write_annotations(root, [make_record(i, f"{names[i % len(names)]}.mp4") for i in range(records)])


def test_a_copy_under_another_name_is_found_and_a_different_clip_of_the_same_name_is_not(project: Project) -> None:
    assert leaks(project) == []  # train/clip_0.mp4 and val/clip_0.mp4 differ
    shutil.copy(project.train / "clip_2.mp4", project.val / "other.mp4")
    write_annotations(project.val, [make_record(0, "clip_0.mp4"), make_record(1, "other.mp4")])
    (finding,) = leaks(project)
    assert finding.rule == "dataset/train-val-same-content"
    assert "1 of 2 validation records name copies of training media" in finding.saw
    assert finding.fix and "move 1 validation records to training: clip_2.mp4 (records 1)" in finding.fix.text


def test_only_files_of_equal_size_are_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from tao_runtime.data import same_content

    read: list[Path] = []
    digest = same_content.content_digest
    monkeypatch.setattr(
        same_content, "content_digest", lambda path, size, **how: read.append(path) or digest(path, size, **how)
    )
    shutil.copy(project.train / "clip_2.mp4", project.val / "clip_0.mp4")
    assert leaks(project)
    size = (project.val / "clip_0.mp4").stat().st_size
    assert read and {path.stat().st_size for path in read} == {size}


def test_equal_sizes_with_other_bytes_are_no_copies(tmp_path: Path) -> None:
    from tao_runtime.data.same_content import content_digest

    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(bytes(2_000_000))
    second.write_bytes(bytes(1_999_999) + b"x")
    assert content_digest(first, 2_000_000) != content_digest(second, 2_000_000)


def test_clips_of_one_source_are_found_by_name_and_the_smaller_side_moves(project: Project) -> None:
    name_clips(project.train, NAMES[:5])
    name_clips(project.val, ("vJk3x9Q_5_12", "Zyx9Wv8_0_10"), seed=50, records=4)
    (finding,) = leaks(project)
    assert finding.rule == "dataset/train-val-same-source"
    assert (
        "2 of 4 validation records are cut from 1 videos that are trained on, 1 of them in overlapping" in finding.saw
    )
    assert finding.fix and finding.fix.text == (
        "split by groups: move 2 validation records to training: vJk3x9Q (records 0, 2)"
    )


def test_neighbouring_parts_of_a_source_do_not_overlap(project: Project) -> None:
    name_clips(project.train, NAMES[:5])
    name_clips(project.val, ("vJk3x9Q_20_30",), seed=50, records=1)
    (finding,) = leaks(project)
    assert "overlapping" not in finding.saw


def test_what_records_say_comes_before_names(project: Project) -> None:
    name_clips(project.train, NAMES[:5])
    write_annotations(project.val, [make_record(0, "clip_0.mp4", source_video="Abc4De5", start=3, end=4)])
    (finding,) = leaks(project)
    assert "1 of 1 validation records are cut from 1 videos that are trained on, 1 of them in over" in finding.saw


def test_a_name_that_most_of_a_large_set_shares_is_no_source(project: Project) -> None:
    names = tuple(f"depot-cam07_{number:04}" for number in range(8))
    name_clips(project.train, names)
    name_clips(project.val, ("depot-cam07_0099",), seed=50, records=1)
    assert leaks(project) == []
