"""Records beside each other: contradictions are short answers to the same question, and nothing else is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from factory import make_clip, make_record, write_annotations
from tao_runtime.data.annotations import scan_annotations
from tao_runtime.errors import Finding
from tao_runtime.spec.base import DatasetRef


def scan(root: Path, *records: dict[str, object]) -> list[Finding]:
    make_clip(root / "clip_0.mp4")
    make_clip(root / "clip_1.mp4")
    write_annotations(root, list(records))
    found = scan_annotations(DatasetRef("train", str(root), "", "a", "m")).findings.findings()
    return [one for one in found if one.rule in {"dataset/answers-contradict", "dataset/media-absolute"}]


def test_every_record_that_differs_from_the_first_is_named(tmp_path: Path) -> None:
    answers = ("left", "right", " Left. ", "right")
    found = scan(tmp_path, *(make_record(i, answer=answer) for i, answer in enumerate(answers)))
    assert [one.record for one in found] == [1, 3]


@pytest.mark.parametrize(
    "other",
    [
        make_record(1, "clip_1.mp4", answer="right"),
        make_record(1, answer="A white square moves from the left side to the right one."),
        make_record(1, answer="right", start=1, end=2),
        make_record(1, answer="right", conversations=[{"from": "human", "value": "<video>\nWhich way does it turn?"},
                                                     {"from": "gpt", "value": "right"}]),
        make_record(1, answer=""),
    ],
)  # fmt: skip
def test_another_medium_question_or_part_and_a_description_are_none(tmp_path: Path, other: dict[str, Any]) -> None:
    assert scan(tmp_path, make_record(0, answer="left"), other) == []


def test_absolute_paths_are_one_note(tmp_path: Path) -> None:
    records = [make_record(i, str(tmp_path / f"clip_{i % 2}.mp4")) for i in range(50)]
    (finding,) = scan(tmp_path, make_record(90), *records)
    assert (finding.severity, finding.record) == ("note", 1)
    assert finding.saw.startswith("50 records name media by absolute paths")


def test_a_tag_in_an_answer_has_a_patch_that_cures_it(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip_0.mp4")
    record = json.loads(json.dumps(make_record(0, answer="HTML has a <video> tag.")))
    ref = DatasetRef("train", str(tmp_path), "", "a", "m")
    write_annotations(tmp_path, [record])
    (finding,) = scan_annotations(ref).findings.findings()
    assert finding.rule == "dataset/tag-in-answer" and finding.fix and finding.fix.patch
    [(path, value)] = finding.fix.patch.items()
    key, number, name = path.split("/")
    record[key][int(number)][name] = value
    write_annotations(tmp_path, [record])
    assert scan_annotations(ref).findings.findings() == ()
    assert value == "HTML has a &lt;video&gt; tag."


@pytest.mark.parametrize("rate", [-1, 0, 1e9, True, "8", [8.0, -8.0], None])
def test_rates_that_are_none(tmp_path: Path, rate: object) -> None:
    make_clip(tmp_path / "clip_0.mp4")
    write_annotations(tmp_path, [{**make_record(0), "video_fps": rate}])
    (finding,) = scan_annotations(DatasetRef("train", str(tmp_path), "", "a", "m")).findings.findings()
    assert finding.rule == "dataset/video-fps"


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("utf-16", "the file is UTF-16"), ("utf-32", "the file is UTF-32"), ("latin-1", "bytes that are not UTF-8")],
)
def test_other_encodings_are_named_with_a_way_out(tmp_path: Path, encoding: str, words: str) -> None:
    from project import Project

    project = Project(tmp_path)
    text = json.dumps([make_record(0, answer="é")], ensure_ascii=False)
    (project.train / "annotations.json").write_bytes(text.encode(encoding))
    (finding,) = [one for one in project.prepare().report.findings if one.rule == "dataset/annotation-unreadable"]
    assert words in finding.saw and finding.fix and "iconv" in finding.fix.text
    (project.train / "annotations.json").write_bytes(text.encode("utf-8-sig"))
    assert not [one for one in project.prepare().report.findings if one.rule == "dataset/annotation-unreadable"]
