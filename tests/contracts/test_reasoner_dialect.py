"""The reasoner of the structured dialect through the one engine: packs, pictures in parquet, folders of clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from factory import make_clip, make_image
from runs import events, losses, tao, tensors

torch = pytest.importorskip("torch")

PACKED = {"max_samples_per_batch": None, "max_sequence_length": 200}


def spec_of(folder: Path, material: Path, data: Path, **changes: Any) -> Path:
    """Write a spec of four steps; `changes` are dotted keys with __ for dots."""
    spec: dict[str, Any] = {
        "job": {"task": "vlm", "name": "run", "output_root": str(folder / "out")},
        "model": {
            "precision": "float32",
            "backbone": {"model_name": str(material / "model")},
            "activation_checkpointing": {"mode": "none"},
        },
        "optimizer": {"lr": 1e-3, "fused": False},
        "scheduler": {"warm_up_steps": [2], "cycle_lengths": [20], "f_min": [0.1], "f_max": [1.0], "f_start": [0.1]},
        "trainer": {"max_iter": 4, "grad_accum_iter": 4, "logging_iter": 1},
        "checkpoint": {"save_iter": 2},
        "dataloader_train": {"dataset_path": str(data), "max_samples_per_batch": 2, "max_sequence_length": 4096},
    }
    for key, value in changes.items():
        *tables, leaf = key.split("__")
        place = spec
        for table in tables:
            place = place.setdefault(table, {})
        place[leaf] = value
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def train(folder: Path, material: Path, data: Path, *, nproc: int = 1, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    spec = spec_of(folder, material, data, **changes)
    tao("train", "--spec", str(spec), "--nproc", str(nproc), cwd=folder)
    [found] = (folder / "out").rglob("run.json")
    return found.parent


@pytest.mark.parametrize(
    "data",
    [pytest.param({}, id="samples", marks=pytest.mark.slow), pytest.param(PACKED, id="packs", marks=pytest.mark.slow)],
)
def test_the_split_does_not_matter(demo_material: Path, tmp_path: Path, data: dict[str, Any]) -> None:
    changes = {f"dataloader_train__{name}": value for name, value in data.items()}
    one = train(tmp_path / "one", demo_material, demo_material / "train", **changes)
    two = train(
        tmp_path / "two", demo_material, demo_material / "train", nproc=2, trainer__grad_accum_iter=2, **changes
    )
    assert len(losses(one)) == 4 and losses(two) == pytest.approx(losses(one), abs=1e-5)
    ours, theirs = tensors(two / "export/model"), tensors(one / "export/model")
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-4


def test_selected_keys_alone_are_trained_at_their_own_rates(demo_material: Path, tmp_path: Path) -> None:
    """Adam's first step is the rate, whatever the gradient: the factor is seen in the weights."""
    changes = {
        "optimizer__keys_to_select": ["visual.merger", "layers.1"],
        "optimizer__lr_multipliers": {"layers.1": 10.0},
        "optimizer__weight_decay": 0.0,
        "trainer__max_iter": 1,
    }
    run = train(tmp_path / "run", demo_material, demo_material / "train", **changes)
    before, after = tensors(demo_material / "model"), tensors(run / "export/model")
    steps = {name: float((after[name] - before[name]).abs().median()) for name in before}
    assert {name for name, step in steps.items() if step} == {
        name for name in before if "visual.merger" in name or "layers.1" in name
    }
    assert steps["model.language_model.layers.1.mlp.up_proj.weight"] == pytest.approx(
        10 * steps["model.visual.merger.linear_fc1.weight"], rel=0.05
    )


def parquet(root: Path) -> Path:
    """Eight rows in two files: pictures as bytes, and two rows of text alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    root.mkdir()
    for part in range(2):
        rows = []
        for number in range(4):
            picture = {"bytes": make_image(root.parent / "p.png", width=64 + 32 * number).read_bytes(), "path": None}
            turns = [{"from": "human", "value": "<image>\nWhich way?"}, {"from": "gpt", "value": "up"}]
            text = [{"from": "human", "value": "Which way?"}, {"from": "gpt", "value": "down"}]
            has = number < 3
            rows.append(
                {"id": f"{part}-{number}", "image": picture if has else None, "conversations": turns if has else text}
            )
        pq.write_table(pa.Table.from_pylist(rows), root / f"{part}.parquet", row_group_size=3)
    return root


def videophy2(root: Path) -> Path:
    """Eight clips in the layout of VideoPhy-2."""
    (root / "text").mkdir(parents=True)
    for number in range(8):
        make_clip(root / "media" / f"{number}.mp4", seed=number)
        turns = [{"from": "human", "value": "<video>\nHow plausible?"}, {"from": "gpt", "value": str(1 + number % 5)}]
        (root / "text" / f"{number}.json").write_text(json.dumps({"conversations": turns}))
    (root / "meta.json").write_text(json.dumps([{"id": str(number)} for number in range(8)]))
    return root


@pytest.mark.parametrize(("make", "layout"), [(parquet, "llava-parquet"), (videophy2, "videophy2")])
def test_trains_on_every_layout_of_its_recipes(demo_material: Path, tmp_path: Path, make: Any, layout: str) -> None:
    changes = {"trainer__grad_accum_iter": 1, "dataloader_train__dataset_format": layout}
    run = train(tmp_path / "run", demo_material, make(tmp_path / "data"), **changes)
    record = json.loads((run / "run.json").read_text())
    assert (record["family"], record["steps"], record["records"]) == ("cosmos3_reasoner", 4, 8)
    assert all(gate["ok"] for gate in events(run, "gate"))


@pytest.mark.slow
def test_ratings_are_judged_as_ratings(demo_material: Path, tmp_path: Path) -> None:
    """A data set of answers from 1 to 5 is known as one; a model that says none of them is wrong, and not guessed."""
    spec = {
        "job": {"task": "vlm", "name": "judged", "output_root": str(tmp_path / "out")},
        "model": {"path": str(demo_material / "model"), "precision": "float32"},
        "dataset": {"dataset_path": str(videophy2(tmp_path / "data")), "dataset_format": "videophy2"},
        "evaluate": {"max_tokens": 4},
    }
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(spec))
    said = tao("evaluate", "--spec", str(tmp_path / "evaluate.yaml"), "--nproc", "1", cwd=tmp_path).stdout
    assert "off_by_one_accuracy" in said and "spearman" in said
    [path] = (tmp_path / "out").rglob("metrics.json")
    found = json.loads(path.read_text())
    assert (found["kind"], found["n"]) == ("rating", 8)
    rows = json.loads((path.parent / "results.json").read_text())
    assert found["unparseable"] == sum(row["parsed"] is None for row in rows)
    assert {"accuracy", "off_by_one_accuracy", "pearson", "spearman"} <= set(found["metrics"])
