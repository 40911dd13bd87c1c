"""The auto-split holds out whole clips, about as many records as asked for, the same ones each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory import make_clip, make_record, write_annotations
from tao_runtime.data.facts import DatasetFacts
from tao_runtime.data.probe import probe_dataset
from tao_runtime.plan.split import split_records
from tao_runtime.spec.base import DatasetRef

SIZES = (1, 1, 2, 3, 5, 8)  # records of each clip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DatasetFacts:
    root = tmp_path_factory.mktemp("split")
    names = [name for number, size in enumerate(SIZES) for name in [f"clip_{number}.mp4"] * size]
    for number in range(len(SIZES)):
        make_clip(root / f"clip_{number}.mp4", seed=number)
    write_annotations(root, [make_record(number, name) for number, name in enumerate(names)])
    return probe_dataset(DatasetRef("train", str(root), "", "annotation", "media"))


def clips(dataset: DatasetFacts, records: set[int]) -> set[int]:
    return {int(medium) for record in records for medium in dataset.columns.media_of(record)}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [1, 4, 10, 0.2, 0.5])
def test_whole_clips_and_at_least_the_size(dataset: DatasetFacts, size: float, seed: int) -> None:
    held = set(split_records(dataset, size, seed=seed))
    kept = set(range(sum(SIZES))) - held
    assert not clips(dataset, held) & clips(dataset, kept)
    wanted = round(size * 20) if size < 1 else size
    # Fewer only where it would have taken everything; more by less than the largest clip.
    assert wanted <= len(held) < wanted + max(SIZES)


def test_is_a_function_of_its_seed(dataset: DatasetFacts) -> None:
    found = [split_records(dataset, 4, seed=seed) for seed in range(12)]
    assert found == [split_records(dataset, 4, seed=seed) for seed in range(12)]
    assert len(set(found)) > 3
    assert all(list(each) == sorted(each) for each in found)


@pytest.mark.parametrize("size", [0, 20, 21, 500])
def test_nothing_is_held_out_where_nothing_or_everything_would_be(dataset: DatasetFacts, size: int) -> None:
    assert split_records(dataset, size, seed=0) == ()


def test_one_clip_cannot_be_split(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip_0.mp4")
    write_annotations(tmp_path, [make_record(number) for number in range(6)])
    dataset = probe_dataset(DatasetRef("train", str(tmp_path), "", "annotation", "media"))
    assert split_records(dataset, 2, seed=0) == ()


def test_records_that_share_any_clip_stay_together(tmp_path: Path) -> None:
    for number in range(4):
        make_clip(tmp_path / f"{number}.mp4", seed=number)
    turns = [{"from": "human", "value": "<video><video>?"}, {"from": "gpt", "value": "a"}]
    pairs = [("0.mp4", "1.mp4"), ("1.mp4", "2.mp4"), ("3.mp4", "3.mp4")]
    records = [make_record(n, None, videos=list(pair), conversations=turns) for n, pair in enumerate(pairs)]
    write_annotations(tmp_path, [{k: v for k, v in record.items() if k != "video"} for record in records])
    dataset = probe_dataset(DatasetRef("train", str(tmp_path), "", "annotation", "media"))
    assert {split_records(dataset, 1, seed=seed) for seed in range(6)} == {(0, 1), (2,)}


def test_unusable_records_are_never_held_out(tmp_path: Path) -> None:
    for number in range(4):
        make_clip(tmp_path / f"{number}.mp4", seed=number)
    records = [make_record(number, f"{number}.mp4") for number in range(3)]
    write_annotations(tmp_path, [*records, make_record(3, "gone.mp4")])
    dataset = probe_dataset(DatasetRef("train", str(tmp_path), "", "annotation", "media"))
    assert 3 not in {record for seed in range(9) for record in split_records(dataset, 2, seed=seed)}
