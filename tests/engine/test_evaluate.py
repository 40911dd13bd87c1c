"""Evaluation and inference on a real model: every record once, the same on any number of processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from runs import tao, write_train_spec

torch = pytest.importorskip("torch")


def write_evaluate_spec(path: Path, material: Path, out: Path, **changes: Any) -> Path:
    from tao_runtime.engine.demo.cosmos_reason import evaluate_spec

    spec: dict[str, Any] = evaluate_spec()
    spec["results_dir"] = str(out)
    spec["dataset"]["annotation_path"] = str(material / "heldout")
    spec["model"]["model_name"] = str(material / "model")
    spec["num_gpus"] = 1
    for key, value in changes.items():
        *tables, leaf = key.split("__")
        place = spec
        for table in tables:
            place = place[table]
        place[leaf] = value
    path.write_text(yaml.safe_dump(spec))
    return path


def results(folder: Path) -> list[dict[str, Any]]:
    rows = json.loads((folder / "results.json").read_text())
    assert isinstance(rows, list)
    return rows


@pytest.fixture(scope="module")
def evaluated(demo_material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    spec = write_evaluate_spec(folder / "evaluate.yaml", demo_material, folder / "out")
    tao("evaluate", "--spec", str(spec), cwd=folder)
    return folder / "out"


def test_every_annotation_has_exactly_one_result(evaluated: Path, demo_material: Path) -> None:
    records = json.loads((demo_material / "heldout/annotations.json").read_text())
    rows = results(evaluated)
    assert [row["video_id"] for row in rows] == [record["id"] for record in records]
    assert [row["gt"] for row in rows] == [record["conversations"][1]["value"] for record in records]
    assert all(row["response"] is not None and row["correct"] in (True, False) for row in rows)


def test_figures_are_those_of_the_results(evaluated: Path) -> None:
    rows, metrics = results(evaluated), json.loads((evaluated / "metrics.json").read_text())
    assert metrics["n"] == len(rows)
    assert metrics["metrics"]["accuracy"]["value"] == pytest.approx(sum(row["correct"] for row in rows) / len(rows))
    assert len(list((evaluated / "individual").glob("*.json"))) == len(rows)


def test_two_processes_and_other_batches_answer_the_same(evaluated: Path, demo_material: Path, tmp_path: Path) -> None:
    spec = write_evaluate_spec(
        tmp_path / "e.yaml", demo_material, tmp_path / "out", num_gpus=2, evaluation__batch_size=3
    )
    tao("evaluate", "--spec", str(spec), cwd=tmp_path)
    assert [row["response"] for row in results(tmp_path / "out")] == [row["response"] for row in results(evaluated)]


def test_limit_and_what_is_not_to_be_saved(demo_material: Path, tmp_path: Path) -> None:
    changes = {"evaluation__limit": 3, "results": {"save_individual_results": False, "save_metrics_summary": False}}
    spec = write_evaluate_spec(tmp_path / "e.yaml", demo_material, tmp_path / "out", **changes)
    tao("evaluate", "--spec", str(spec), cwd=tmp_path)
    assert len(results(tmp_path / "out")) == 3
    assert not (tmp_path / "out/individual").exists()
    assert not (tmp_path / "out/metrics.json").exists()


def test_an_adapter_answers_as_its_merged_model_does(demo_material: Path, tmp_path: Path) -> None:
    lora = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    spec = write_train_spec(
        tmp_path / "t.yaml", demo_material, tmp_path / "run", policy__lora=lora, train__optm_lr=0.05, train__epoch=3
    )
    tao("train", "--spec", str(spec), cwd=tmp_path)
    merged = {"model__model_name": str(tmp_path / "run/export/model")}
    adapter = {
        "model__model_name": str(tmp_path / "run/export/adapter"),
        "model__enable_lora": True,
        "model__base_model_path": str(demo_material / "model"),
    }
    answers = []
    for name, changes in (("merged", merged), ("adapter", adapter)):
        spec = write_evaluate_spec(tmp_path / f"{name}.yaml", demo_material, tmp_path / name, **changes)
        tao("evaluate", "--spec", str(spec), cwd=tmp_path)
        answers.append([row["response"] for row in results(tmp_path / name)])
    assert answers[0] == answers[1]


def test_saved_answers_are_kept_and_the_rest_made(evaluated: Path, demo_material: Path, tmp_path: Path) -> None:
    spec = write_evaluate_spec(
        tmp_path / "e.yaml", demo_material, tmp_path / "out", evaluation__skip_saved=True, evaluation__limit=2
    )
    tao("evaluate", "--spec", str(spec), cwd=tmp_path)
    part = next((tmp_path / "out/parts").glob("*.jsonl"))
    part.write_text(part.read_text().replace('"response": "', '"response": "kept '))
    spec = write_evaluate_spec(tmp_path / "e.yaml", demo_material, tmp_path / "out", evaluation__skip_saved=True)
    tao("evaluate", "--spec", str(spec), cwd=tmp_path)
    answers = [row["response"] for row in results(tmp_path / "out")]
    assert all(answer.startswith("kept") for answer in answers[:2])
    assert answers[2:] == [row["response"] for row in results(evaluated)][2:]


@pytest.mark.parametrize("what", ["file", "folder", "annotations"])
def test_inference(evaluated: Path, demo_material: Path, tmp_path: Path, what: str) -> None:
    clips = demo_material / "heldout/clips"
    media = {
        "file": sorted(clips.iterdir())[0],
        "folder": clips,
        "annotations": demo_material / "heldout/annotations.json",
    }[what]
    spec = {
        "results_dir": str(tmp_path / "out"),
        "media": str(media),
        "model_path": str(demo_material / "model"),
        "prompt": "Which way does the square move?",
        "num_frames": 8,
        "total_pixels": None,
        "max_new_tokens": 8,
    }
    (tmp_path / "i.yaml").write_text(yaml.safe_dump(spec))
    tao("inference", "--spec", "i.yaml", "--nproc", "2" if what == "folder" else "1", cwd=tmp_path)
    known = {Path(row["video"]).name: row["response"] for row in results(evaluated)}
    rows = results(tmp_path / "out")
    assert len(rows) == (1 if what == "file" else len(known))
    assert all(row["response"] == known[Path(row["video"]).name] for row in rows)
