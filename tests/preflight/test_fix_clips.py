"""`check --fix` of clips: what cannot be used is set apart with reasons, the rest passes, sources are only read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from structured import StructuredProject
from tao_runtime.errors import InputError
from tao_runtime.preflight.fix import Fixed, fix_project
from tao_runtime.preflight.prepare import prepare


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fix(world: StructuredProject, folder: Path) -> Fixed:
    before = {path: path.read_bytes() for path in world.data.rglob("*") if path.is_file()}
    spec = world.path("train")
    done = fix_project(spec, [], prepare(spec, nproc=1).report, folder, nproc=1)
    assert {path: path.read_bytes() for path in world.data.rglob("*") if path.is_file()} == before
    return done


def quarantined(done: Fixed) -> list[tuple[int, str]]:
    lines = done.sets["train"].quarantine.read_text().splitlines()
    return [(row["record"], row["reasons"][0].partition(":")[0]) for row in map(json.loads, lines)]


def test_records_of_a_file(tmp_path: Path) -> None:
    world = StructuredProject(tmp_path / "world", "cosmos3_vision")
    file = world.data / "train" / "video_dataset_file.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    records[0]["t2w_windows"][0]["end_frame"] = 90  # the clip has 24 frames
    records[1]["vision_path"] = "gone.mp4"
    records[2]["t2w_windows"][0]["caption_json"] = {}
    records[3]["uuid"] = "0"
    records.append({**records[5], "uuid": "again"})
    file.write_text("\n".join(map(json.dumps, records)))
    (world.data / "train" / "4.mp4").write_bytes(b"no video")
    done = fix(world, tmp_path / "fixed")
    assert quarantined(done) == [(1, "clips/header"), (2, "clips/caption-empty"), (4, "clips/header")]
    assert done.remaining is not None and done.remaining.ok
    assert {one.rule for one in done.remaining.findings}.isdisjoint({"clips/window-end", "dataset/id-duplicate"})
    kept = [json.loads(line) for line in done.sets["train"].target.read_text().splitlines()]
    assert [row["vision_path"] for row in kept] == ["0.mp4", "3.mp4", "5.mp4", "5.mp4"]
    assert (kept[0]["t2w_windows"][0]["end_frame"], kept[1]["uuid"]) == (23, "record-3")
    again = fix(world, tmp_path / "fixed")  # a second repair into its own folder
    assert again.summary() == done.summary()


def test_a_file_that_is_an_array(tmp_path: Path) -> None:
    world = StructuredProject(tmp_path / "world", "cosmos3_vision")
    file = world.data / "train" / "video_dataset_file.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    records[1]["vision_path"] = "gone.mp4"
    (world.data / "train" / "clips.json").write_text(json.dumps(records))
    world.set(dataloader_train__dataset_file="train/clips.json")
    done = fix(world, tmp_path / "fixed")
    assert quarantined(done) == [(1, "clips/header")]
    assert done.remaining is not None and done.remaining.ok
    for record in records:  # nothing is left of it: an empty copy, and no traceback
        record["vision_path"] = "gone.mp4"
    (world.data / "train" / "clips.json").write_text(json.dumps(records))
    assert not fix(world, tmp_path / "fixed").summary()["ok"]


def test_a_folder(tmp_path: Path) -> None:
    world = StructuredProject(tmp_path / "world", "cosmos_predict2")
    (world.data / "videos" / "0.mp4").write_bytes(b"no video")
    (world.data / "metas" / "1.txt").write_text(" ")
    (world.data / "videos" / "2.mp4").rename(world.data / "videos" / "2.MP4")
    done = fix(world, tmp_path / "fixed")
    assert quarantined(done) == [(0, "clips/header"), (1, "clips/caption-empty")]
    assert done.remaining is not None and done.remaining.ok
    assert sorted(path.name for path in (tmp_path / "fixed" / "train" / "videos").iterdir()) == [
        "2.mp4", "3.mp4", "4.mp4", "5.mp4"
    ]  # fmt: skip
    assert done.sets["train"].diff.read_text() == "videos/2.MP4 -> videos/2.mp4\n"


def test_a_good_set_is_left_where_it_is(tmp_path: Path) -> None:
    world = StructuredProject(tmp_path / "world", "cosmos_predict1")
    assert fix(world, tmp_path / "fixed").sets == {}
    assert not (tmp_path / "fixed" / "train").exists()


@pytest.mark.parametrize("family", ["cosmos3_vision", "cosmos_predict2"])
def test_a_folder_that_holds_anything_else_is_refused(tmp_path: Path, family: str) -> None:
    world = StructuredProject(tmp_path / "world", family)
    place = world.data / ("train" if family == "cosmos3_vision" else "videos")
    (place / "0.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="want another folder"):
        fix(world, world.data if family == "cosmos3_vision" else world.data.parent)
    other = tmp_path / "other"
    (other / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="is there already; want another folder"):
        fix(world, other)
