"""Killed at random instants, inside saves too, and run again until it is complete: bit-equal, and no commit is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from runs import children, events, losses, tao, tensors, training, wait_until, write_train_spec

torch = pytest.importorskip("torch")

STEPS = 12
TWO_RANKS = {
    "policy__parallelism__dp_shard_size": 2,
    "train__train_batch_per_replica": 4,
    "train__train_policy__mini_batch": 4,
}


def spec_of(material: Path, folder: Path, *, mode: str, layout: dict[str, int], name: str = "train") -> Path:
    changes = {
        "train__epoch": 3,
        "train__ckpt": {"save_freq": 1, "max_keep": 3, "save_mode": mode},
        "validation__enable": False,
        **layout,
    }
    return write_train_spec(folder / f"{name}.yaml", material, folder / "run", **changes)


def commits(run_dir: Path) -> set[str]:
    return {path.parent.name for path in run_dir.glob("checkpoints/iter_*/COMMIT")}


def kill_at_random(spec: Path, run_dir: Path, draw: random.Random) -> bool:
    """Start, and kill the launcher and its processes at a random instant of training; True if it was killed."""
    starts, left = len(events(run_dir, "start")), saving(run_dir)
    with training(spec) as run:
        wait_until(run, lambda: len(events(run_dir, "start")) > starts)
        after_start = draw.uniform(0.0, 1.5)
        inside_a_save = draw.random() < 0.5
        deadline = time.monotonic() + after_start
        # A half-written save is there for some 30 ms: to hit it, wait for one after the drawn instant.
        while run.poll() is None and (time.monotonic() < deadline or (inside_a_save and saving(run_dir) <= left)):
            time.sleep(0.001)
        try:
            for pid in children(run.pid):
                os.kill(pid, signal.SIGKILL)
            os.killpg(run.pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it ended by itself meanwhile
        return run.wait() == -signal.SIGKILL


def saving(run_dir: Path) -> set[str]:
    return {path.name for path in run_dir.glob("checkpoints/.saving-*")}


def crash(material: Path, folder: Path, *, kills: int, seed: int, layout: dict[str, int]) -> dict[str, int]:
    """Kill a training, again and again from its start when it got through; compare with one that was not killed."""
    draw, counts = random.Random(seed), {"kills": 0, "rounds": 0, "left half-written": 0}
    whole = folder / "whole"
    whole.mkdir()
    tao("train", "--spec", str(spec_of(material, whole, mode="sync", layout=layout)), cwd=whole)
    want, want_loss = tensors(whole / "run/export/model"), losses(whole / "run")[-1]
    while counts["kills"] < kills:
        counts["rounds"] += 1
        attempt = folder / f"round-{counts['rounds']}"
        attempt.mkdir()
        for _ in range(5):
            if counts["kills"] == kills or (attempt / "run/run.json").exists():  # killed after it was complete
                break
            before, left = commits(attempt / "run"), saving(attempt / "run")
            spec = spec_of(material, attempt, mode=draw.choice(["sync", "async"]), layout=layout)
            if not kill_at_random(spec, attempt / "run", draw):
                break
            counts["kills"] += 1
            counts["left half-written"] += not saving(attempt / "run") <= left
            after = commits(attempt / "run")
            assert not before or max(after) >= max(before), "a commit was lost"
            assert len(after) >= min(len(before), 3)
        if not (attempt / "run/run.json").exists():
            tao("train", "--spec", str(spec), cwd=attempt)
        got = tensors(attempt / "run/export/model")
        assert all(torch.equal(got[name], want[name]) for name in want)
        assert losses(attempt / "run")[-1] == want_loss
    return counts


@pytest.mark.parametrize(("kills", "seed"), [(3, 3), pytest.param(45, 7, marks=pytest.mark.slow)])
def test_killed_at_random_instants(demo_material: Path, tmp_path: Path, kills: int, seed: int) -> None:
    counts = crash(demo_material, tmp_path, kills=kills, seed=seed, layout={})
    print(counts)
    assert counts["left half-written"], "no kill fell inside a save"


@pytest.mark.slow
def test_two_processes_killed_at_random_instants(demo_material: Path, tmp_path: Path) -> None:
    assert crash(demo_material, tmp_path, kills=5, seed=11, layout=TWO_RANKS)["kills"] == 5
