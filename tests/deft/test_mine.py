"""Mining takes clips of the weak slices, worst first, and never one whose content is evaluated on or known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mining import LEFT, RED, make_gaps, make_set, record
from tao_runtime.deft.mine import Mined, mine, rank_slices
from tao_runtime.errors import FindingsError, InputError


def ids(mined: Mined) -> list[object]:
    return [each.record["id"] for each in mined.records]


def test_takes_only_what_the_model_fails_on(tmp_path: Path) -> None:
    gaps = make_gaps(tmp_path / "gaps.parquet", (f"<video>\n{LEFT}", "Yes."))
    pool = make_set(tmp_path / "pool", record("a"), record("b", gt="no"), record("c", question=RED), seed=10)
    train, kpi = make_set(tmp_path / "train", record("t"), seed=20), make_set(tmp_path / "kpi", record("k"), seed=30)
    mined = mine(gaps, pool=pool, train=train, held_out=[kpi])
    assert (ids(mined), mined.num_other_slices, mined.exclusions) == (["a"], 2, ())


def test_never_a_clip_that_is_evaluated_on_or_trained_on_whatever_its_name(tmp_path: Path) -> None:
    gaps = make_gaps(tmp_path / "gaps.parquet", (LEFT, "yes"))
    pool = make_set(tmp_path / "pool", *(record(key) for key in "abcd"), seed=10)
    train, kpi = make_set(tmp_path / "train", record("t"), seed=20), make_set(tmp_path / "kpi", record("k"), seed=30)
    shutil.copy(tmp_path / "kpi" / "k.mp4", tmp_path / "pool" / "a.mp4")
    shutil.copy(tmp_path / "train" / "t.mp4", tmp_path / "pool" / "b.mp4")
    shutil.copy(tmp_path / "pool" / "c.mp4", tmp_path / "pool" / "d.mp4")
    mined = mine(gaps, pool=pool, train=train, held_out=[kpi])
    reasons = {each.id: (each.reason, each.like) for each in mined.exclusions}
    assert reasons["a"] == ("held-out", str(tmp_path / "kpi" / "k.mp4"))
    assert reasons["b"] == ("in-train", str(tmp_path / "train" / "t.mp4"))
    assert len(mined.records) == 1
    assert sorted(reason for reason, _ in reasons.values()) == ["duplicate-in-pool", "held-out", "in-train"]


def test_worst_slice_first_up_to_the_limit(tmp_path: Path) -> None:
    gaps = make_gaps(tmp_path / "gaps.parquet", (LEFT, "yes"), (RED, "no"), (RED, "no"))
    assert rank_slices(gaps) == (("is it red", "no"), ("does it turn left", "yes"))
    reds = (record(key, question=RED, gt="no") for key in "ab")
    pool = make_set(tmp_path / "pool", record("l"), *reds, seed=10)
    train, kpi = make_set(tmp_path / "train", record("t"), seed=20), make_set(tmp_path / "kpi", record("k"), seed=30)
    mined = mine(gaps, pool=pool, train=train, held_out=[kpi], limit=2)
    assert sorted(map(str, ids(mined))) == ["a", "b"]
    assert [(each.id, each.reason) for each in mined.exclusions] == [("l", "over-limit")]
    assert list(mined.taken_by_slice.values()) == [2, 0]


def test_the_seed_decides_the_order(tmp_path: Path) -> None:
    gaps = make_gaps(tmp_path / "gaps.parquet", (LEFT, "yes"))
    pool = make_set(tmp_path / "pool", *(record(f"p{i}") for i in range(8)), seed=10)
    train, kpi = make_set(tmp_path / "train", record("t"), seed=90), make_set(tmp_path / "kpi", record("k"), seed=91)
    first, again, other = (ids(mine(gaps, pool=pool, train=train, held_out=[kpi], seed=s)) for s in (1, 1, 2))
    assert first == again != other
    assert sorted(map(str, first)) == sorted(map(str, other))


def test_pool_faults_are_reasons(tmp_path: Path) -> None:
    gaps = make_gaps(tmp_path / "gaps.parquet", (LEFT, "yes"))
    pool = make_set(tmp_path / "pool", record("a"), seed=10)
    bad = [7, record("b", video="none.mp4"), record("c", video="../train/t.mp4"), {**record("d"), "video": None}]
    (tmp_path / "pool" / "annotations.json").write_text(json.dumps([record("a"), *bad]))
    train, kpi = make_set(tmp_path / "train", record("t"), seed=20), make_set(tmp_path / "kpi", record("k"), seed=30)
    mined = mine(gaps, pool=pool, train=train, held_out=[kpi])
    assert {each.record: each.reason for each in mined.exclusions} == {
        1: "not-object", 2: "media-missing", 3: "media-outside", 4: "no-media",
    }  # fmt: skip


def test_refuses_if_the_held_out_clips_cannot_be_compared(tmp_path: Path) -> None:
    gaps = make_gaps(tmp_path / "gaps.parquet", (LEFT, "yes"))
    pool, train = make_set(tmp_path / "pool", record("a")), make_set(tmp_path / "train", record("t"), seed=20)
    kpi = make_set(tmp_path / "kpi", record("k"), seed=30)
    (tmp_path / "kpi" / "k.mp4").unlink()
    with pytest.raises(FindingsError, match=r"deft/media-unreadable.*held-out"):
        mine(gaps, pool=pool, train=train, held_out=[kpi])


def test_reads_a_gaps_file_of_three_columns_and_refuses_others(tmp_path: Path) -> None:
    old = {"video_id": ["/a.mp4"], "question": [RED], "ground_truth": ["no"]}
    pq.write_table(pa.table(old), tmp_path / "old.parquet")
    assert rank_slices(tmp_path / "old.parquet") == (("is it red", "no"),)
    pq.write_table(pa.table({"video_id": ["/a.mp4"]}), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match="no column question, ground_truth"):
        rank_slices(tmp_path / "bad.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"want a gaps\.parquet"):
        rank_slices(tmp_path / "text.parquet")
