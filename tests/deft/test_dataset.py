"""The next data set holds all of the old one plus what was mined, and says where everything came from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from mining import LEFT, make_gaps, make_set, record
from tao_runtime.deft.dataset import Manifest, merge
from tao_runtime.deft.mine import Mined, mine
from tao_runtime.deft.records import AnnotationSet
from tao_runtime.errors import FindingsError, InputError


def prepare(folder: Path) -> tuple[AnnotationSet, Mined]:
    gaps = make_gaps(folder / "gaps.parquet", (LEFT, "yes"))
    pool = make_set(folder / "pool", record("t"), record("p"), record("x", gt="no"), seed=10)
    train = make_set(folder / "train", {**record("t"), "note": "停"}, seed=20)
    return train, mine(gaps, pool=pool, train=train, held_out=[make_set(folder / "kpi", record("k"), seed=30)])


def test_paths_are_absolute_without_a_root(tmp_path: Path) -> None:
    train, mined = prepare(tmp_path)
    before = (tmp_path / "train" / "annotations.json").read_bytes()
    merge(train, mined=mined, out_dir=tmp_path / "next")
    records = json.loads((tmp_path / "next" / "annotations.json").read_text("utf-8"))
    assert records[0] == {**record("t"), "note": "停", "video": str(tmp_path / "train" / "t.mp4")}
    assert all(Path(each["video"]).is_file() for each in records)
    assert sorted(each["id"] for each in records) == ["p", "t", "t-mined"]
    assert (tmp_path / "train" / "annotations.json").read_bytes() == before


def test_paths_are_relative_to_a_stated_root(tmp_path: Path) -> None:
    train, mined = prepare(tmp_path)
    manifest = merge(train, mined=mined, out_dir=tmp_path / "next", media_root=tmp_path)
    records = json.loads((tmp_path / "next" / "annotations.json").read_text("utf-8"))
    assert sorted(each["video"] for each in records) == ["pool/p.mp4", "pool/t.mp4", "train/t.mp4"]
    assert manifest.media_root == str(tmp_path)


def test_media_outside_the_stated_root_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    train, mined = prepare(tmp_path)
    with pytest.raises(FindingsError, match="deft/media-outside"):
        merge(train, mined=mined, out_dir=tmp_path / "next", media_root=tmp_path / "train")
    assert list((tmp_path / "next").iterdir()) == []


def test_the_manifest_names_every_parent_by_content(tmp_path: Path) -> None:
    train, mined = prepare(tmp_path)
    manifest = merge(train, mined=mined, out_dir=tmp_path / "next")
    assert Manifest.model_validate_json((tmp_path / "next" / "manifest.json").read_text()) == manifest
    assert set(manifest.parents) == {"train", "pool", "held_out", "gaps"}
    for parent in (manifest.annotations, *(one for each in manifest.parents.values() for one in each)):
        assert hashlib.sha256(Path(parent.path).read_bytes()).hexdigest() == parent.sha256
    assert manifest.counts == {"train": 1, "mined": 2, "total": 3, "other_slices": 1}
    assert {each["sha256"][0] for each in manifest.mined} == {
        hashlib.sha256((tmp_path / "pool" / name).read_bytes()).hexdigest() for name in ("t.mp4", "p.mp4")
    }


def test_never_writes_over_a_source(tmp_path: Path) -> None:
    train, mined = prepare(tmp_path)
    with pytest.raises(InputError, match="is one of the sources"):
        merge(train, mined=mined, out_dir=tmp_path / "train")


def test_same_input_same_bytes(tmp_path: Path) -> None:
    train, mined = prepare(tmp_path)
    first = merge(train, mined=mined, out_dir=tmp_path / "one")
    assert first.annotations.sha256 == merge(train, mined=mined, out_dir=tmp_path / "two").annotations.sha256
