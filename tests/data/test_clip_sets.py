"""Data sets of clips and of conversations in other layouts, on real files: what is seen, what is wrong, read again."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory import make_clip, make_image
from tao_runtime.data.captions import caption_of
from tao_runtime.data.probe import probe_dataset
from tao_runtime.data.records import read_record
from tao_runtime.data.t5 import write_embedding
from tao_runtime.errors import InputError
from tao_runtime.spec.base import DatasetRef

T5 = np.zeros((3, 1024), np.float16)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def ref(path: Path, layout: str) -> DatasetRef:
    return DatasetRef("train", str(path), "", "data.path", "data.path", format=layout)


def lines(root: Path, *records: object) -> DatasetRef:
    (root / "d.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    return ref(root / "d.jsonl", "video-jsonl")


def window(**fields: object) -> dict[str, object]:
    return {"start_frame": 0, "end_frame": 15, "temporal_interval": 1, "caption": "a square", **fields}


def test_structured_captions_win_and_are_written_as_they_stand() -> None:
    both = caption_of(window(caption_json={"subjects": "é", "fps": 8}))
    assert both is not None and both.structured and both.text == '{"subjects": "é", "fps": 8}'
    assert both.prompt(num_frames=17, fps=8, height=192, width=320) == both.text
    plain = caption_of(window(caption=" A square moves.. "))
    assert plain is not None and plain.prompt(num_frames=17, fps=8.0, height=192, width=320) == (
        "A square moves. The video is 2.1 seconds long and is of 8 FPS. This video is of 192x320 resolution."
    )
    assert caption_of({"caption_json": {}}) is None and caption_of({"caption": " "}) is None and caption_of({}) is None


def test_a_file_of_clips_is_seen_whole(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4")
    make_clip(tmp_path / "b.mp4", num_frames=8)
    second = {"vision_path": "b.mp4", "t2w_windows": [window(end_frame=7, caption_json={"a": 1})]}
    first = {"vision_path": "a.mp4", "t2w_windows": [window(), window(start_frame=4)]}
    facts = probe_dataset(lines(tmp_path, first, second))
    assert facts.findings == () and facts.num_usable == 2 and facts.windows is not None
    assert facts.windows.start.tolist() == [0, 2, 3] and facts.windows.first.tolist() == [0, 4, 0]
    assert facts.windows.structured.tolist() == [False, False, True]
    record = read_record("video-jsonl", facts.annotation, int(facts.columns.offset[1]), int(facts.columns.size[1]))
    assert record["vision_path"] == "b.mp4"


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        ([1], "clips/record-malformed"),
        ({"t2w_windows": [window()]}, "clips/record-malformed"),
        ({"vision_path": "a.mp4", "t2w_windows": []}, "clips/record-malformed"),
        ({"vision_path": "a.mp4", "t2w_windows": [window(end_frame=-1)]}, "clips/window"),
        ({"vision_path": "a.mp4", "t2w_windows": [window(start_frame=True)]}, "clips/window"),
        ({"vision_path": "a.mp4", "t2w_windows": [window(temporal_interval=0)]}, "clips/window"),
        ({"vision_path": "a.mp4", "t2w_windows": [window(caption="")]}, "clips/caption-empty"),
        ({"vision_path": "a\ud800.mp4", "t2w_windows": [window()]}, "clips/record-malformed"),
        ({"vision_path": "a\0.mp4", "t2w_windows": [window()]}, "clips/record-malformed"),
        ({"vision_path": "s3://b/a.mp4", "t2w_windows": [window()]}, "clips/path"),
        ({"vision_path": "../a.mp4", "t2w_windows": [window()]}, "clips/path"),
        ({"vision_path": "gone.mp4", "t2w_windows": [window()]}, "clips/header"),
    ],
)
def test_what_is_wrong_with_a_clip_is_found(tmp_path: Path, record: object, rule: str) -> None:
    make_clip(tmp_path / "set" / "a.mp4")
    facts = probe_dataset(lines(tmp_path / "set", record))
    assert rule in {finding.rule for finding in facts.findings} and facts.num_usable == 0


def folder(root: Path) -> Path:
    make_clip(root / "videos" / "a.mp4")
    (root / "metas").mkdir()
    (root / "t5_xxl").mkdir()
    (root / "metas" / "a.txt").write_text("a square moves")
    return root


def test_a_folder_is_seen_whole(tmp_path: Path) -> None:
    root = folder(tmp_path)
    facts = probe_dataset(ref(root, "video-folder"))
    assert (facts.findings, facts.num_usable) == ((), 1) and facts.windows is not None
    assert facts.windows.embedded.tolist() == [False]
    write_embedding(root / "t5_xxl" / "a.safetensors", T5, caption="a square moves")
    again = probe_dataset(ref(root, "video-folder"))
    assert again.windows is not None and again.windows.embedded.tolist() == [True] and again.findings == ()
    record = read_record("video-folder", again.annotation, int(again.columns.offset[0]), 0)
    assert record == {"video": str(root / "videos" / "a.mp4"), "caption": "a square moves",
                      "embedding": str(root / "t5_xxl" / "a.safetensors")}  # fmt: skip
    with pytest.raises(InputError, match="has no folder videos"):
        probe_dataset(ref(root / "metas", "video-folder"))


def stale(root: Path) -> None:
    write_embedding(root / "t5_xxl" / "a.safetensors", T5, caption="another text")


def older(root: Path) -> None:
    (root / "t5_xxl" / "a.pickle").write_bytes(pickle.dumps([T5]))
    os.utime(root / "t5_xxl" / "a.pickle", (1, 1))


@pytest.mark.parametrize(
    ("breaker", "rule"),
    [
        (lambda root: (root / "metas" / "a.txt").write_text(" \n"), "clips/caption-empty"),
        (lambda root: (root / "metas" / "a.txt").unlink(), "clips/caption-empty"),
        (lambda root: (root / "videos" / "a.mp4").write_bytes(b"x"), "clips/header"),
        (lambda root: (root / "t5_xxl" / "a.pickle").write_bytes(pickle.dumps([T5[:, :9]])), "clips/embedding"),
        (lambda root: (root / "t5_xxl" / "a.pickle").write_bytes(pickle.dumps({1})), "clips/embedding-unsafe"),
        (stale, "clips/embedding-stale"),
        (older, "clips/embedding-older"),
    ],
)
def test_what_is_wrong_with_a_folder_is_found(tmp_path: Path, breaker, rule: str) -> None:
    breaker(folder(tmp_path))
    facts = probe_dataset(ref(tmp_path, "video-folder"))
    assert [finding.rule for finding in facts.findings] == [rule]
    assert facts.num_usable == (rule == "clips/embedding-older")


def parquet(root: Path, *, image: bytes | None) -> DatasetRef:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a square"}]
    rows = [{"id": str(n), "image": {"bytes": image, "path": None}, "conversations": turns} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows[:2]), root / "0.parquet", row_group_size=1)
    pq.write_table(pa.Table.from_pylist(rows[2:]), root / "1.parquet")
    return ref(root, "llava-parquet")


def test_rows_of_parquet_are_records_with_their_picture(tmp_path: Path) -> None:
    from tao_runtime.data.llava_parquet import read_picture

    image = make_image(tmp_path / "a.png", width=48).read_bytes()
    facts = probe_dataset(parquet(tmp_path, image=image))
    assert (facts.findings, facts.num_usable) == ((), 3) and [h.width for h in facts.media if h] == [48] * 3
    record = read_record("llava-parquet", facts.annotation, int(facts.columns.offset[2]), 0)
    assert record["id"] == "2" and read_picture(Path(str(record["image"]))) == image
    broken = probe_dataset(parquet(tmp_path, image=b"x"))
    assert {finding.rule for finding in broken.findings} == {"dataset/parquet-image"} and broken.num_usable == 0
    (tmp_path / "1.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match=r"1\.parquet: .*; want a parquet file"):
        probe_dataset(ref(tmp_path, "llava-parquet"))


def test_parquet_without_its_columns_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"id": "1"}]), tmp_path / "a.parquet")
    facts = probe_dataset(ref(tmp_path, "llava-parquet"))
    assert facts.findings[0].rule == "dataset/parquet-columns"
    assert "no column image, conversations" in facts.findings[0].render()


@pytest.mark.parametrize("layout", ["video-jsonl", "video-folder"])
def test_a_set_without_clips_is_an_error(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "empty.jsonl" if layout == "video-jsonl" else tmp_path
    (tmp_path / "videos").mkdir()
    (tmp_path / "empty.jsonl").write_text("[]")
    assert [finding.rule for finding in probe_dataset(ref(path, layout)).findings] == ["clips/none"]


@pytest.mark.parametrize("style", ["entry", "name", "messages"])
def test_the_videophy2_layout(tmp_path: Path, style: str) -> None:
    make_clip(tmp_path / "media" / "a.mp4")
    (tmp_path / "text").mkdir()
    turns: object = [{"from": "human", "value": "<video>\nScore?"}, {"from": "gpt", "value": "4"}]
    if style == "messages":
        turns = {"messages": [{"role": "user", "content": "<video>\nScore?"}, {"role": "assistant", "content": "4"}]}
    (tmp_path / "text" / "a.json").write_text(json.dumps(turns))
    (tmp_path / "meta.json").write_text(json.dumps(["a" if style == "name" else {"id": "a"}, {"id": "../b"}, {"n": 1}]))
    facts = probe_dataset(ref(tmp_path, "videophy2"))
    assert [finding.rule for finding in facts.findings] == ["dataset/meta-entry"] * 2 and facts.num_usable == 1
    record = read_record("videophy2", facts.annotation, int(facts.columns.offset[0]), int(facts.columns.size[0]))
    assert record["video"] == "media/a.mp4" and len(record["conversations"]) == 2  # type: ignore[arg-type]


def test_videophy2_as_upstream_prepares_it(tmp_path: Path) -> None:
    make_clip(tmp_path / "media" / "video_0001.mp4")
    (tmp_path / "text").mkdir()
    parts = [{"type": "video", "video": "video_0"}, {"type": "text", "text": "How plausible, from 1 to 5?"}]
    turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "text", "text": "4"}]}]
    (tmp_path / "text" / "conversation_0001.json").write_text(json.dumps({"conversations": turns}))
    entry = {"id": "conversation_0001", "media": "media/video_0001.mp4", "conversation": "text/conversation_0001.json"}
    (tmp_path / "meta.json").write_text(json.dumps([entry, {**entry, "id": "b", "conversation": "../x.json"}]))
    facts = probe_dataset(ref(tmp_path, "videophy2"))
    assert [finding.rule for finding in facts.findings] == ["dataset/meta-entry"] and facts.num_usable == 1
    record = read_record("videophy2", facts.annotation, int(facts.columns.offset[0]), int(facts.columns.size[0]))
    assert record["conversations"] == [
        {"from": "user", "value": "<video>\nHow plausible, from 1 to 5?"},
        {"from": "assistant", "value": "4"},
    ]
