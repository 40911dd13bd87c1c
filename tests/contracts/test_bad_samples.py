"""A clip that preflight could not see through: counted against a budget and named; over budget the run stops."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from runs import events, losses, tao, tensors, training, wait_until, write_train_spec

torch = pytest.importorskip("torch")


@pytest.fixture
def damaged(demo_material: Path, tmp_path: Path) -> Path:
    """The training set with one clip whose header is whole and whose frames are not."""
    shutil.copytree(demo_material, tmp_path / "material")
    clip = sorted((tmp_path / "material/train/clips").iterdir())[0]
    content = bytearray(clip.read_bytes())
    start = content.index(b"mdat") + 4
    length = min(len(content) - start, 1200)
    content[start : start + length] = bytes(length)
    clip.write_bytes(content)
    return tmp_path / "material"


def test_over_budget_the_run_stops_and_names_the_clip(damaged: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", damaged, tmp_path / "run")
    done = tao("train", "--spec", str(spec), cwd=tmp_path, want=3)
    assert "train-0000.mp4" in done.stderr
    assert "train.bad_sample_budget" in done.stderr
    assert not (tmp_path / "run/run.json").exists()


def test_within_budget_it_is_counted(damaged: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", damaged, tmp_path / "run", train__bad_sample_budget=2)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    assert json.loads((tmp_path / "run/run.json").read_text())["bad_samples"] == 2


@pytest.mark.slow  # tests/engine/test_load_ahead.py has it in one process
def test_a_decoder_that_hangs_costs_its_sample_not_the_run(demo_material: Path, tmp_path: Path) -> None:
    """A clip becomes a pipe that nobody writes to, while training runs: opening it never returns."""
    shutil.copytree(demo_material, tmp_path / "material")
    clip = sorted((tmp_path / "material/train/clips").iterdir())[0]
    changes = {
        "train__epoch": 8,
        "train__bad_sample_budget": 8,
        "train__load_timeout_s": 1,
        "validation__enable": False,
    }
    spec = write_train_spec(tmp_path / "train.yaml", tmp_path / "material", tmp_path / "run", **changes)
    with training(spec) as run:
        wait_until(run, lambda: [gate for gate in events(tmp_path / "run", "gate") if gate["gate"] == "gradient"])
        clip.unlink()
        os.mkfifo(clip)
        said = run.communicate(timeout=120)[1]
    assert run.returncode == 0, said
    lost = events(tmp_path / "run", "bad-sample")
    assert 1 <= len(lost) <= 8
    assert {event["reason"] for event in lost} == {"hangs: not loaded 1 s after it was needed"}
    assert json.loads((tmp_path / "run/run.json").read_text())["bad_samples"] == len(lost)


@pytest.mark.parametrize("nproc", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_lost_sample_counts_as_one_that_was_never_there(damaged: Path, tmp_path: Path, nproc: int) -> None:
    """One step over the whole set, with the damaged clip and without its record: the same loss, the same weights."""
    annotation = damaged / "train/annotations.json"
    records = json.loads(annotation.read_text())
    runs = {}
    for name, kept in (("lost", records), ("absent", records[1:])):
        annotation.write_text(json.dumps(kept))
        changes = {
            "policy__parallelism__dp_shard_size": nproc,
            "train__train_batch_per_replica": -(-len(kept) // nproc),
            "train__train_policy__mini_batch": -(-len(kept) // nproc),
            "train__train_policy__dataloader_drop_last": False,
            "train__max_num_steps": 1,
            "train__optm_warmup_steps": 0,
            "train__bad_sample_budget": 1,
            "validation__enable": False,
        }
        spec = write_train_spec(tmp_path / f"{name}.yaml", damaged, tmp_path / name, **changes)
        tao("train", "--spec", str(spec), cwd=tmp_path)
        runs[name] = tmp_path / name
    assert "train-0000.mp4" in str(records[0])
    assert losses(runs["lost"]) == pytest.approx(losses(runs["absent"]), abs=1e-6)
    assert losses(runs["lost"], "optimizer/grad_norm") == pytest.approx(
        losses(runs["absent"], "optimizer/grad_norm"), abs=1e-5
    )
    ours, theirs = (tensors(run / "export/model") for run in runs.values())
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-4
