"""What is wrong with a conversation is found in every layout that holds conversations, with record and words."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from factory import make_image, write_annotations
from structured import StructuredProject
from tao_runtime.data.probe import probe_dataset
from tao_runtime.spec.base import DatasetRef

LAYOUTS = ("llava", "llava-parquet", "videophy2")
Record = dict[str, Any]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def picture(width: int = 64, height: int = 64, *, cut: int | None = None) -> bytes:
    raw = io.BytesIO()
    Image.new("RGB", (width, height)).save(raw, "PNG")
    return raw.getvalue()[:cut]


def row(number: int, answer: str = "blue", *, question: str = "<image>\nColour?") -> Record:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": str(number), "conversations": turns}


def write(root: Path, layout: str, rows: Sequence[Record], raw: bytes | None = None) -> DatasetRef:
    """Write records about one picture each, all with the same bytes, in a layout."""
    data = picture() if raw is None else raw
    root.mkdir(parents=True, exist_ok=True)
    if layout == "llava-parquet":
        table = [{**one, "image": {"bytes": data, "path": None}} for one in rows]
        schema = pa.Table.from_pylist([{**row(0), "image": {"bytes": b"", "path": ""}}]).schema
        pq.write_table(pa.Table.from_pylist(table, schema=schema), root / "a.parquet")
    else:
        (root / "a.png").write_bytes(data)
        write_annotations(root, [{**one, "image": "a.png"} for one in rows])
    return DatasetRef("train", str(root), "", "data.path", "data.path", format=layout)


def said(ref: DatasetRef) -> list[str]:
    return [finding.render() for finding in probe_dataset(ref).findings]


@pytest.mark.parametrize("layout", ["llava", "llava-parquet"])
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(0), row(0, "blue")], "the same id as record 0"),
        ([row(0), row(1, "red")], "another answer than record 0"),
        ([row(0, question="Colour?")], "0 media tags for 1 media"),
        ([row(0, question="<image><image>Colour?")], "2 media tags for 1 media"),
        ([row(0, "\u200b")], "want an answer. Fix"),
        ([row(0, "<think>It is blue.</think>\n")], "want an answer after the reasoning"),
        ([], "0 records; want at least one"),
    ],
)
def test_a_fault_in_records_about_pictures(tmp_path: Path, layout: str, rows: list[Record], words: str) -> None:
    assert said(write(tmp_path / "good", layout, [row(0), row(1)])) == []
    found = said(write(tmp_path / "set", layout, rows))
    assert len(found) == 1 and words in found[0]


@pytest.mark.parametrize("layout", ["llava", "llava-parquet"])
@pytest.mark.parametrize(("raw", "words"), [(picture(4000, 10), "4000x10; want"), (picture(400, 400, cut=200), "want")])
def test_a_fault_in_a_picture(tmp_path: Path, layout: str, raw: bytes, words: str) -> None:
    ref = write(tmp_path, layout, [row(0)], raw)
    found = said(ref)
    assert len(found) == 1 and words in found[0] and "record 0" in found[0]
    assert probe_dataset(ref).num_usable == 0


def videophy2(root: Path, entries: Sequence[object], **texts: object) -> DatasetRef:
    (root / "text").mkdir(parents=True)
    (root / "media").mkdir()
    for name, value in texts.items():
        make_image(root / "media" / f"{name}.png")
        path = root / "text" / f"{name}.json"
        path.write_bytes(value) if isinstance(value, bytes) else path.write_text(json.dumps(value))
    (root / "meta.json").write_text(json.dumps(entries))
    return DatasetRef("train", str(root), "", "data.path", "data.path", format="videophy2")


SCORE = [{"from": "human", "value": "<video>\nScore?"}, {"from": "gpt", "value": "4"}]
LOW = [SCORE[0], {"from": "gpt", "value": "1"}]


@pytest.mark.parametrize(
    ("entries", "texts", "words"),
    [
        ([], {}, "0 records; want at least one"),
        (["a", {"id": "b", "media": "media/a.mp4"}], {"a": SCORE, "b": LOW}, "another answer than record 0"),
        (["a"], {"a": b"{"}, "text/a.json of 'a': not JSON in UTF-8"),
        (["a"], {"a": b'["caf\xe9"]'}, "text/a.json of 'a': not JSON in UTF-8"),
        (["a"], {"a": {"n": 1}}, "text/a.json of 'a': no list of turns"),
        (["b"], {"a": SCORE}, "'b', and no text/b.json"),
        ([{"n": 1}], {}, "want an id, or an object with id, uuid, video_id"),
    ],
)
def test_a_fault_in_videophy2(tmp_path: Path, entries: list[object], texts: dict[str, object], words: str) -> None:
    from factory import make_clip

    make_clip(tmp_path / "set" / "clips.mp4")
    ref = videophy2(tmp_path / "set", entries, **texts)
    for name in texts:
        (tmp_path / "set" / "media" / f"{name}.mp4").write_bytes((tmp_path / "set" / "clips.mp4").read_bytes())
    found = said(ref)
    assert len(found) == 1 and words in found[0], found


def test_broken_clips_of_videophy2_are_counted_and_name_their_records(tmp_path: Path) -> None:
    names = [f"c{number}" for number in range(30)]
    ref = videophy2(tmp_path / "set", names, **dict.fromkeys(names, SCORE))
    for name in names:
        (tmp_path / "set" / "media" / f"{name}.mp4").touch()
    found = said(ref)
    assert len(found) == 21 and "record 3)" in found[3] and "and 10 more" in found[20]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_record_that_is_too_long_is_found_in_every_layout(tmp_path: Path, layout: str) -> None:
    project = StructuredProject(tmp_path / "project", "cosmos3_reasoner")
    if layout == "videophy2":
        long = [SCORE[0], {"from": "gpt", "value": "left " * 900}]
        ref = videophy2(tmp_path / "set", ["a", "b"], a=SCORE, b=long)
        for name in "ab":
            clip = project.data / "clip_0.mp4"
            (tmp_path / "set" / "media" / f"{name}.mp4").write_bytes(clip.read_bytes())
    else:
        ref = write(tmp_path / "set", layout, [row(0), row(1, "left " * 900)])
    project.set(dataloader_train__dataset_path=ref.annotation, dataloader_train__dataset_format=layout,
                dataloader_train__max_sequence_length=1000)  # fmt: skip
    project.world_size = 1
    (found,) = [one for one in project.report().findings if one.severity == "error"]
    assert found.rule == "cosmos3_reasoner/length" and found.record == 1
    assert found.fix is not None and found.fix.patch is not None
    project.set(**found.fix.patch)
    assert [one for one in project.report().findings if one.severity == "error"] == []


def test_what_cannot_be_read_names_the_place_and_how_to_convert_it(tmp_path: Path) -> None:
    project = StructuredProject(tmp_path / "project", "cosmos3_vision")
    file = project.data / "train" / "video_dataset_file.jsonl"
    good = file.read_text()
    cut = good.splitlines()
    file.write_text("\n".join([*cut[:2], cut[2][:-5], *cut[3:]]))
    assert "in the value that starts in line 3; want valid JSON" in project.report().findings[0].render()
    file.write_text(good, encoding="utf-16")
    found = project.report().findings[0]
    assert (found.file, found.pointer, found.saw) == (str(file), "1:1", "the file is UTF-16")
    assert found.fix is not None and "iconv -f UTF-16 -t UTF-8" in found.fix.text


def test_a_folder_without_clips_is_named_itself(tmp_path: Path) -> None:
    project = StructuredProject(tmp_path / "project", "cosmos_predict2")
    project.set(dataloader_train__dataset_dir=str(project.data / "metas"))
    found = project.report().findings[0]
    assert found.file == str(project.data / "metas") and found.saw == "has no folder videos"
