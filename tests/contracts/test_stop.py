"""A run that is asked to stop commits, ends with exit code 4, and goes on as if it had never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runs import children, events, losses, tao, tensors, training, wait_until, write_train_spec

torch = pytest.importorskip("torch")

TWO_RANKS = {
    "policy__parallelism__dp_shard_size": 2,
    "train__train_batch_per_replica": 4,
    "train__train_policy__mini_batch": 4,
}
STOPPED, FAILED = 4, 3


def spec_of(material: Path, folder: Path, nproc: int, **changes: object) -> Path:
    layout = TWO_RANKS if nproc == 2 else {}
    ckpt = {"save_freq": 100, "max_keep": -1, "save_mode": "async"}
    return write_train_spec(
        folder / "train.yaml", material, folder / "run", **{"train__ckpt": ckpt, **layout, **changes}
    )


def trains(run_dir: Path) -> bool:
    """The first step is done."""
    return any(event["gate"] == "gradient" for event in events(run_dir, "gate"))


def to_launcher(run: subprocess.Popen[str]) -> int:
    return run.pid


def to_last_rank(run: subprocess.Popen[str]) -> int:
    [agent] = children(run.pid)
    return children(agent)[-1]


@pytest.mark.parametrize(
    ("nproc", "number"),
    [
        pytest.param(1, signal.SIGTERM, id="one"),
        pytest.param(2, signal.SIGINT, id="two-ctrl-c", marks=pytest.mark.slow),
    ],
)
def test_stops_with_a_commit_and_goes_on_bit_equal(
    demo_material: Path, tmp_path: Path, nproc: int, number: signal.Signals
) -> None:
    spec = spec_of(demo_material, tmp_path, nproc)
    stopped = stop_and_check(spec, tmp_path / "run", number, to_launcher)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    assert events(tmp_path / "run", "start")[-1]["step"] == stopped
    (tmp_path / "whole").mkdir()
    tao("train", "--spec", str(spec_of(demo_material, tmp_path / "whole", nproc)), cwd=tmp_path)
    ours, theirs = (tensors(folder / "export/model") for folder in (tmp_path / "run", tmp_path / "whole/run"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert losses(tmp_path / "run")[-1] == losses(tmp_path / "whole/run")[-1]


def test_a_scheduler_that_warns_one_rank_of_two_stops_both(demo_material: Path, tmp_path: Path) -> None:
    stop_and_check(spec_of(demo_material, tmp_path, 2), tmp_path / "run", signal.SIGUSR1, to_last_rank)


def stop_and_check(
    spec: Path, run_dir: Path, number: signal.Signals, receiver: Callable[[subprocess.Popen[str]], int]
) -> int:
    """Stop a training after its first step; returns the step that it committed."""
    with training(spec) as run:
        wait_until(run, lambda: trains(run_dir))
        os.kill(receiver(run), number)
        said = run.communicate(timeout=60)[1]
    assert run.returncode == STOPPED, said
    assert "Traceback" not in said and "run the same command again to go on" in said
    [stopped] = events(run_dir, "stopped")
    assert (run_dir / f"checkpoints/iter_{stopped['step']:09d}/COMMIT").is_file()
    assert 0 < stopped["step"] < 8 and not (run_dir / "run.json").exists()
    return int(stopped["step"])


def test_a_rank_that_dies_is_named_and_the_commits_stay(demo_material: Path, tmp_path: Path) -> None:
    ckpt = {"save_freq": 1, "max_keep": -1, "save_mode": "async"}
    spec = spec_of(demo_material, tmp_path, 2, train__ckpt=ckpt, train__epoch=20)
    with training(spec) as run:
        wait_until(run, lambda: events(tmp_path / "run", "checkpoint"))
        before = {path.parent.name for path in tmp_path.glob("run/checkpoints/iter_*/COMMIT")}
        os.kill(to_last_rank(run), signal.SIGKILL)
        said = run.communicate(timeout=30)[1]  # the stated time where ranks talk over gloo
    assert run.returncode == FAILED
    assert "rank 1 was ended by SIGKILL" in said and "Traceback" not in said
    assert before <= {path.parent.name for path in tmp_path.glob("run/checkpoints/iter_*/COMMIT")}


def test_nothing_outlives_the_launcher(demo_material: Path, tmp_path: Path) -> None:
    with training(spec_of(demo_material, tmp_path, 2, train__epoch=20)) as run:
        wait_until(run, lambda: trains(tmp_path / "run"))
        [agent] = children(run.pid)
        family = [agent, *children(agent)]
        run.kill()
        run.wait()
    stops = {pid: Path(f"/proc/{pid}/stat") for pid in family}
    for _ in range(200):
        left = [pid for pid, stat in stops.items() if stat.exists() and stat.read_text().split()[2] not in "ZX"]
        if not left:
            break
        signal.sigtimedwait([], 0.01)
    assert len(family) == 3 and not left
