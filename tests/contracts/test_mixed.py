"""Videos, images and text in one data set, spread over ranks: no rank waits for ever, and the losses are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory import make_clip, make_image, write_annotations
from runs import losses, tao, write_train_spec

pytest.importorskip("torch")

QUESTION = "Which way does the square move? Answer left or right."
PER_RANK, MICRO = "train__train_batch_per_replica", "train__train_policy__mini_batch"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six records of each kind, sorted by kind: without shuffling, most micro-batches are of one kind."""
    root = tmp_path_factory.mktemp("mixed")
    records = []
    for number in range(18):
        kind = ("text", "image", "video")[number // 6]
        tag = "" if kind == "text" else f"<{kind}>\n"
        turns = [{"from": "human", "value": tag + QUESTION}, {"from": "gpt", "value": "right" if number % 2 else "up"}]
        record: dict[str, object] = {"id": str(number), "conversations": turns}
        if kind == "image":
            record["image"] = make_image(root / f"{number}.png", width=64 + 32 * (number % 3)).name
        if kind == "video":
            record["video"] = make_clip(root / f"{number}.mp4", num_frames=4 + number % 5, seed=number).name
            record["video_fps"] = 8.0
        records.append(record)
    write_annotations(root, records)
    return root


def train(material: Path, data: Path, folder: Path, **changes: object) -> list[float]:
    base = {
        "custom__train_dataset__annotation_path": str(data),
        "validation__enable": False,
        "train__epoch": 2,
        "train__train_policy__dataloader_shuffle": False,
        "train__train_policy__dataset": {"test_size": 0},
    }
    spec = write_train_spec(folder / "train.yaml", material, folder / "run", **{**base, **changes})
    tao("train", "--spec", str(spec), cwd=folder)
    return losses(folder / "run")


def test_modalities_mixed_over_ranks_give_the_same_losses(demo_material: Path, mixed: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    alone = train(demo_material, mixed, one, **{PER_RANK: 6, MICRO: 6})
    split = train(demo_material, mixed, two, policy__parallelism__dp_shard_size=2, **{PER_RANK: 3, MICRO: 1})
    assert len(alone) == 6 and split == pytest.approx(alone, abs=1e-5)
