"""Columns say what the file says, records are read back by place, and no record whatsoever raises."""

from __future__ import annotations

import json
import pickle
import random
from multiprocessing import get_context
from pathlib import Path

import pytest

from factory import make_clip, make_dataset, make_image, make_record, write_annotations
from mutations import mutate
from tao_runtime.data.annotations import RecordReader, locate, scan_annotations
from tao_runtime.data.facts import DatasetFacts
from tao_runtime.data.fold import Collector
from tao_runtime.data.probe import probe_dataset
from tao_runtime.spec.base import DatasetRef


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def ref(annotation: Path, media: str = "", label: str = "train") -> DatasetRef:
    return DatasetRef(label, str(annotation), media, "data.annotation_path", "data.media_path")


def facts_of(root: Path) -> DatasetFacts:
    return probe_dataset(ref(root))


def test_columns_count_bytes_turns_and_media(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, 3)
    question, answer = "<video>\nVerhält es sich so?", "jaß"
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    write_annotations(root, [make_record(0), make_record(1, conversations=turns)])
    columns = facts_of(root).columns
    assert columns.text_bytes[1] == len((question + answer).encode())
    assert columns.answer_bytes[1] == len(answer.encode())
    assert (columns.num_turns.tolist(), columns.media_of(1).tolist()) == ([2, 2], [0])


def test_reader_returns_each_record_also_pickled_and_in_a_fork(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, 20)
    write_annotations(root, records := [make_record(i, answer="é" * i) for i in range(1, 20)])
    reader = RecordReader(facts_of(root))
    assert [reader[i] for i in range(len(reader))] == records
    assert pickle.loads(pickle.dumps(reader))[7] == records[7]  # noqa: S301 - our own bytes
    with get_context("fork").Pool(2) as pool:
        assert pool.map(reader.__getitem__, range(19)) == records


def test_root_mode_and_direct_paths_name_the_same_files(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "root", 4)
    apart = write_annotations(tmp_path / "apart", json.loads((root / "annotations.json").read_text()), name="x.json")
    assert locate(ref(root)) == (root / "annotations.json", root)
    assert locate(ref(apart)) == (apart, tmp_path / "apart")
    direct = probe_dataset(ref(apart, str(root)))
    assert [one and one.path for one in direct.media] == [one and one.path for one in facts_of(root).media]
    assert direct.findings == ()


def test_two_spellings_of_a_path_are_one_file(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, 2)
    names = ["clip_0.mp4", "./clip_0.mp4", "x/../clip_0.mp4", str(root / "clip_0.mp4")]
    (root / "x").mkdir()
    write_annotations(root, [make_record(i, name) for i, name in enumerate(names)])
    facts = facts_of(root)
    assert (len(facts.media), [one.rule for one in facts.findings]) == (1, ["dataset/media-absolute"])


@pytest.mark.parametrize("name", ["../out.mp4", "/etc/hostname", "a/../../out.mp4", "link/out.mp4"])
def test_no_path_leads_out_of_the_root(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / "out.mp4")
    root = make_dataset(tmp_path / "root", 1)
    (root / "link").symlink_to(tmp_path)
    write_annotations(root, [make_record(0, name)])
    (finding,) = facts_of(root).findings
    assert finding.rule == "dataset/media-outside"


@pytest.mark.parametrize("layout", ["llava", "video-jsonl", "video-folder"])
def test_a_snapshot_of_the_hub_s_cache_is_links_and_good(tmp_path: Path, layout: str) -> None:
    snapshot, blobs = tmp_path / "datasets--a--b" / "snapshots" / "0f", tmp_path / "datasets--a--b" / "blobs"
    make_clip(blobs / "abc.mp4").rename(blobs / "abc")
    folder = snapshot / ("videos" if layout == "video-folder" else "")
    folder.mkdir(parents=True)
    (folder / "clip.mp4").symlink_to(blobs / "abc")
    annotation = snapshot
    if layout == "llava":
        write_annotations(snapshot, [make_record(0, "clip.mp4")])
    elif layout == "video-folder":
        (snapshot / "metas").mkdir()
        (snapshot / "metas" / "clip.txt").write_text("a square")
    else:
        annotation = snapshot / "clips.jsonl"
        window = {"start_frame": 0, "end_frame": 9, "temporal_interval": 1, "caption_json": {"a": "square"}}
        annotation.write_text(json.dumps({"uuid": "0", "vision_path": "clip.mp4", "t2w_windows": [window]}))
    ref = DatasetRef("train", str(annotation), "", "a", "m", format=layout)
    facts = probe_dataset(ref)
    assert (facts.findings, facts.num_usable) == ((), 1)
    (folder / "clip.mp4").unlink()
    (folder / "clip.mp4").symlink_to(make_clip(tmp_path / "elsewhere.mp4"))
    assert probe_dataset(ref).num_usable == 0


def test_images_lists_and_text_only_records_are_good(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, 1)
    make_image(root / "a.png")
    tag = {"from": "human", "value": "<image><image>?"}
    images = make_record(1, video=None, video_fps=None, images=["a.png", "a.png"])
    images["conversations"][0] = tag  # type: ignore[index]
    text = make_record(2, video=None, video_fps=None)
    text["conversations"][0] = {"from": "user", "value": "2 + 2?"}  # type: ignore[index]
    write_annotations(root, [make_record(0), images, text])
    facts = facts_of(root)
    assert facts.findings == ()
    assert np_lists(facts) == [[0], [1, 1], []]


def np_lists(facts: DatasetFacts) -> list[list[int]]:
    return [facts.columns.media_of(i).tolist() for i in range(facts.num_records)]


def test_broken_clip_makes_its_records_unusable_and_is_named_once(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, 8, num_clips=2)
    (root / "clip_1.mp4").write_bytes(b"x" * 100)
    facts = facts_of(root)
    assert facts.columns.usable.tolist() == [True, False] * 4
    (finding,) = facts.findings
    assert (finding.rule, finding.record, finding.file) == ("media/unreadable", 1, str(root / "clip_1.mp4"))


def test_jsonl_is_read_like_an_array(tmp_path: Path) -> None:
    root = make_dataset(tmp_path, 4)
    records = json.loads((root / "annotations.json").read_text())
    path = root / "a.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    assert probe_dataset(ref(path)).num_usable == 4


def test_an_extra_fold_sees_every_object(tmp_path: Path) -> None:
    seen: list[int] = []

    class Count:
        def see(self, index: int, record: object, findings: Collector) -> None:
            seen.append(index)

        def finish(self, findings: Collector) -> None:
            seen.append(-1)

    root = make_dataset(tmp_path, 3)
    write_annotations(root, [make_record(0), 7, make_record(2)])
    scan_annotations(ref(root), folds=[lambda _: Count()])
    assert seen == [0, 2, -1]


def test_two_thousand_mutated_records_give_findings_and_no_exception(tmp_path: Path) -> None:
    root, rng = make_dataset(tmp_path, 1), random.Random(0)
    records: list[object] = []
    for number in range(2000):
        record: object = make_record(number)
        for _ in range(rng.randint(1, 4)):
            record = mutate(record, rng)
        records.append(record)
    text = json.dumps(records).replace("Infinity", "1e999").replace("NaN", "0")
    (root / "annotations.json").write_text(text)
    facts = facts_of(root)
    assert facts.num_records == 2000
    assert 0 < facts.num_usable < 2000
    assert all(finding.saw.isprintable() for finding in facts.findings)
