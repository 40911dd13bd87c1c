"""`check --fix`: copies that pass, records that no one can repair set apart with reasons, sources untouched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from factory import make_clip, make_image, make_record, write_annotations
from project import Project
from tao_runtime.data.llava import ROLES
from tao_runtime.preflight.fix import Fixed, fix_project
from tao_runtime.preflight.prepare import prepare

GPT = {"from": "gpt", "value": "left"}
HUMAN = {"from": "human", "value": "<video>\nWhich way?"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Project(tmp_path / "project")


def fix(project: Project) -> Fixed:
    before = {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}
    spec = project.spec()
    done = fix_project(spec, [], prepare(spec).report, project.root.parent / "fixed")
    assert {path: path.read_bytes() for path in before} == before, "sources are only read"
    return done


def turns(*values: dict[str, object]) -> dict[str, object]:
    return {"conversations": list(values)}


# rule -> (fields of the record that breaks it, what the repaired record must say)
PATCHED: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "dataset/video-fps": ({"video_fps": None}, {"video_fps": 8.0}),
    "dataset/video-fps-differs": ({"video_fps": 30}, {"video_fps": 8.0}),
    "dataset/tag-in-answer": (turns(HUMAN, {"from": "gpt", "value": "the <video> tag"}),
                              turns(HUMAN, {"from": "gpt", "value": "the &lt;video&gt; tag"})),
    "dataset/special-token": (turns(HUMAN, {"from": "gpt", "value": "a<|im_end|>"}),
                              turns(HUMAN, {"from": "gpt", "value": "a&lt;|im_end|&gt;"})),
    "dataset/text-not-unicode": (turns(HUMAN, {"from": "gpt", "value": "a\ud800"}),
                                 turns(HUMAN, {"from": "gpt", "value": "a\ufffd"})),
    "dataset/turn-malformed": (turns({"role": "User", "content": HUMAN["value"]}, GPT), turns(HUMAN, GPT)),
    "dataset/last-turn-unanswered": (turns(HUMAN, GPT, {"from": "human", "value": "?"}), turns(HUMAN, GPT)),
    "dataset/tags-exceed-media": (turns({"from": "human", "value": "<video>\nWhat is a <video> tag?"}, GPT),
                                  turns({"from": "human", "value": "<video>\nWhat is a &lt;video&gt; tag?"}, GPT)),
    "dataset/tags-missing": (turns({"from": "human", "value": "Which way?"}, GPT), turns(HUMAN, GPT)),
    "dataset/media-key": ({"video": None, "image": "clip_0.mp4", "video_fps": None,
                           **turns({"from": "human", "value": "<image>\nWhich way?"}, GPT)},
                          {"video": "clip_0.mp4", "video_fps": 8.0, **turns(HUMAN, GPT)}),
    "dataset/id-duplicate": ({"id": "7"}, {"id": "record-7"}),
}  # fmt: skip
# rule -> fields of a record that no one but its owner can repair
SET_APART: dict[str, dict[str, object]] = {
    "dataset/conversations-missing": turns(),
    "dataset/roles-alternate": turns(HUMAN, GPT, GPT),
    "dataset/answer-missing": turns(HUMAN),
    "dataset/answer-empty": turns(HUMAN, {"from": "gpt", "value": " "}),
    "dataset/turn-malformed": turns(HUMAN, {"from": "robot", "value": "x"}),
    "dataset/media-mixed": {"image": "a.png"},
    "dataset/media-not-path": {"video": 7},
    "dataset/media-outside": {"video": "../elsewhere.mp4"},
    "dataset/media-missing": {"video": "gone.mp4"},
    "dataset/tags-exceed-media": {"video": None, "video_fps": None},
    "media/unreadable": {"video": "broken.mp4"},
}


@pytest.mark.parametrize("lines", [False, True])
def test_every_patch_cures_its_rule_and_the_rest_is_set_apart(project: Project, lines: bool) -> None:
    make_image(project.train / "a.png")
    (project.train / "broken.mp4").write_bytes(b"not a video")
    broken = [*PATCHED.values(), *((fields, None) for fields in SET_APART.values())]
    records: list[object] = [make_record(i, f"clip_{i % 4}.mp4") for i in range(40)]
    records += [make_record(100 + i, **fields) for i, (fields, _) in enumerate(broken)] + [7]
    old = project.train / "annotations.json"
    if lines:
        old.unlink()
        (project.train / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
        tables, own = project.tables("train"), project.tables
        tables["custom"]["train_dataset"] = {"annotation_path": str(project.train / "a.jsonl")}
        project.tables = lambda action: tables if action == "train" else own(action)  # type: ignore[method-assign]
    else:
        write_annotations(project.train, records)
    done = fix(project)
    found = done.sets["train"]
    assert dict(found.applied) == {**dict.fromkeys(PATCHED, 1), "dataset/video-fps": 2}  # of a video that was an image
    assert set(found.reasons) == {*SET_APART, "dataset/record-not-object"}
    assert (found.records, found.kept) == (len(records), 40 + len(PATCHED))
    text = found.target.read_text()
    kept = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    for number, (_, want) in enumerate(PATCHED.values(), 40):
        place = next(i for i, each in enumerate(kept) if each["id"] in (str(60 + number), f"record-{number}"))
        want = {**want, "id": f"record-{number}"} if "id" in want else want
        assert {key: kept[place][key] for key in want} == want
    apart = [json.loads(line) for line in found.quarantine.read_text().splitlines()]
    assert [one["content"] for one in apart] == [json.loads(json.dumps(one)) for one in records[40 + len(PATCHED) :]]
    assert "+ " in found.diff.read_text() and '-  "video_fps": 30' in found.diff.read_text().replace("- ", "-  ")
    # Which of two answers is right no program knows; 51 records do not fill batches of 8.
    left = {one.rule for one in done.remaining.findings} if done.remaining else {"none"}
    assert left == {"dataset/answers-contradict", "cosmos_reason/dropped-records"}


def test_a_good_project_gets_no_copies(project: Project) -> None:
    done = fix(project)
    assert (done.sets, done.split, done.keys) == ({}, None, {})
    assert {path.name for path in done.folder.iterdir()} == {"train.yaml", "spec.diff", "summary.json"}


def test_what_no_one_can_repair_remains_and_is_named(project: Project) -> None:
    (project.train / "annotations.json").write_text('[{"id": 1},')
    done = fix(project)
    assert done.remaining is not None and not done.remaining.ok
    assert "dataset/annotation-unreadable" in done.summary()["remaining"][0]


def test_diff_and_report_are_bounded(project: Project) -> None:
    write_annotations(project.train, [make_record(i, video_fps=None, answer="x" * 500) for i in range(3000)])
    done = fix(project)
    assert done.sets["train"].changed == 3000
    assert done.sets["train"].diff.stat().st_size < 700_000
    assert "more records were changed" in done.sets["train"].diff.read_text()


def leaking(project: Project, kind: str) -> None:
    if kind == "copies":
        for number in (0, 2):
            shutil.copy(project.train / f"clip_{number}.mp4", project.val / f"copy_{number}.mp4")
        write_annotations(project.val, [make_record(i, f"{name}.mp4") for i, name in
                                        enumerate(("clip_0", "copy_0", "clip_0", "copy_2"))])  # fmt: skip
    elif kind == "sources":
        for side, first in ((project.train, 0), (project.val, 5)):
            for number in range(5):
                make_clip(side / f"vJk3x{number}Q_{first}_{first + 9}.mp4", seed=first * 10 + number)
            names = [f"vJk3x{i % 5}Q_{first}_{first + 9}.mp4" for i in range(20)]
            write_annotations(side, [make_record(i, name) for i, name in enumerate(names)])
    else:
        tables, own = project.tables("train"), project.tables
        tables["custom"]["val_dataset"] = tables["custom"]["train_dataset"]
        project.tables = lambda action: tables if action == "train" else own(action)  # type: ignore[method-assign]


@pytest.mark.parametrize("kind", ["copies", "sources", "one file"])
def test_a_leak_is_ended_by_a_split_in_groups(project: Project, kind: str) -> None:
    leaking(project, kind)
    before = prepare(project.spec()).report
    assert any(one.rule.startswith("dataset/train-val") for one in before.findings)
    done = fix(project)
    assert done.split is not None and done.remaining is not None
    assert not [one for one in done.remaining.findings if one.rule.startswith("dataset/train-val")]
    assert done.remaining.ok, done.remaining.render()
    sizes = {side: len(json.loads((done.folder / "split" / f"{side}.json").read_text())) for side in ("train", "val")}
    assert sizes == {"copies": {"train": 42, "val": 2}, "sources": {"train": 24, "val": 16},
                     "one file": {"train": 30, "val": 10}}[kind]  # fmt: skip


def test_roles_of_every_spelling_are_known() -> None:
    assert set(ROLES) == {"human", "user", "gpt", "assistant", "system"}
