"""What a run does with what it finds: deletes nothing at its start, keeps retention, refuses data that changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runs import ENVIRONMENT, events, tao, training, wait_until, write_train_spec

pytest.importorskip("torch")


def spec_of(material: Path, folder: Path, *, epochs: int) -> Path:
    ckpt = {"save_freq": 1, "max_keep": 2, "save_mode": "sync"}
    changes = {"train__ckpt": ckpt, "train__epoch": epochs, "validation__enable": False}
    return write_train_spec(folder / "train.yaml", material, folder / "run", **changes)


@pytest.fixture
def done_once(demo_material: Path, tmp_path: Path) -> Path:
    """A run of 4 steps, of which the last two are kept; without its run.json, so that it may go on."""
    tao("train", "--spec", str(spec_of(demo_material, tmp_path, epochs=1)), cwd=tmp_path)
    (tmp_path / "run/run.json").unlink()
    return tmp_path / "run"


def test_resume_deletes_nothing_at_its_start_and_keeps_retention(
    done_once: Path, demo_material: Path, tmp_path: Path
) -> None:
    checkpoints = done_once / "checkpoints"
    (checkpoints / "iter_000000001").mkdir()  # as a copy that was broken off leaves it
    (checkpoints / ".saving-iter_000000009-dead").mkdir()
    before = set(done_once.rglob("*"))
    with training(spec_of(demo_material, tmp_path, epochs=2)) as run:
        wait_until(run, lambda: len(events(done_once, "start")) == 2)
        at_start = set(done_once.rglob("*"))
        said = run.communicate(timeout=120)[1]
    assert before <= at_start
    assert run.returncode == 0 and "no COMMIT, so they do not count" in said
    committed = {path.parent.name for path in checkpoints.glob("iter_*/COMMIT")}
    assert committed == {"iter_000000007", "iter_000000008"}
    assert (checkpoints / "iter_000000001").is_dir(), "what was never committed is not ours to prune"


def test_data_that_changed_between_launch_and_worker_stops_the_run_before_step_0(done_once: Path) -> None:
    plan = json.loads((done_once / "plan.json").read_text())
    plan["data"]["train"]["sha256"] = "0" * 64  # what was checked was another file
    (done_once / "plan.json").write_text(json.dumps(plan))
    worker = [sys.executable, "-m", "tao_runtime.engine.worker", "train", str(done_once)]
    done = subprocess.run(
        worker, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "error[run/data-changed]" in done.stderr and "want the file that was checked before the launch" in done.stderr
    )
    assert len(events(done_once, "start")) == 1
