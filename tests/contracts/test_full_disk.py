"""A disk that is full, on a real small file system: what is committed stays, training goes on, and it is said."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runs import events, tao, training, wait_until, write_train_spec

pytest.importorskip("torch")

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB; a commit of the demo's model takes 5.6."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def spec_of(material: Path, disk: Path, *, mode: str, epochs: int, save_freq: int = 1) -> Path:
    ckpt = {"save_freq": save_freq, "max_keep": 1, "save_mode": mode}
    changes = {"train__ckpt": ckpt, "train__epoch": epochs, "validation__enable": False}
    return write_train_spec(disk.parent / "train.yaml", material, disk / "run", **changes)


@pytest.mark.parametrize("mode", [pytest.param("sync", marks=pytest.mark.slow), "async"])
def test_training_goes_on_and_saves_when_there_is_room_again(demo_material: Path, small_disk: Path, mode: str) -> None:
    run_dir, filler = small_disk / "run", small_disk / "filler"
    with training(spec_of(demo_material, small_disk, mode=mode, epochs=4)) as run:
        wait_until(run, lambda: events(run_dir, "checkpoint"))
        filler.write_bytes(b"0" * (14 * MIB))  # too little room for a second commit
        wait_until(run, lambda: events(run_dir, "checkpoint-failed"))
        kept = sorted(path.parent.name for path in run_dir.glob("checkpoints/iter_*/COMMIT"))
        filler.unlink()
        said = run.communicate(timeout=120)[1]
    assert run.returncode == 0 and len(kept) == 1
    failed = events(run_dir, "checkpoint-failed")[0]
    assert "rank 0: " in failed["reason"] and "0.0 MiB were free on the disk" in failed["reason"]
    assert f"step {failed['step']} could not be saved" in said
    assert events(run_dir, "checkpoint")[-1]["step"] == 16
    assert not list((run_dir / "checkpoints").glob(".saving-*"))


def test_a_last_save_that_fails_fails_the_run(demo_material: Path, small_disk: Path) -> None:
    run_dir, filler = small_disk / "run", small_disk / "filler"
    spec = spec_of(demo_material, small_disk, mode="async", epochs=1, save_freq=100)
    with training(spec) as run:
        wait_until(run, lambda: events(run_dir, "start"))
        filler.write_bytes(b"0" * (20 * MIB))
        said = run.communicate(timeout=120)[1]
    assert run.returncode == 3, said
    assert "step 4 could not be saved" in said and "free disk space" in said and "Traceback" not in said
    assert not (run_dir / "run.json").exists() and not list((run_dir / "checkpoints").iterdir())
    filler.unlink()
    tao("train", "--spec", str(spec), cwd=small_disk.parent)
