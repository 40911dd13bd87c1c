"""The watchdog: who hangs is named, with phase, file and stack, and the run ends; who is slow is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runs import COMMAND, ENVIRONMENT, write_train_spec

torch = pytest.importorskip("torch")

from tao_runtime.engine.heartbeat import Beat, find_hangs, find_slow, path_of, read_beat, write_beat
from tao_runtime.engine.worker import out_of_memory

HANG_S = 4.0
BEAT = Beat(0, 1, 1, "host", "launch", 1, phase="forward", step=3, marks=40)


def run_until(folder: Path, spec: Path, act: Callable[[], bool]) -> tuple[int, str, float]:
    """Start a training, `act` until it says that it did; returns exit code, standard error, seconds from then on."""
    environment = {**os.environ, **ENVIRONMENT, "TAO_RUN_HANG_S": str(HANG_S)}
    command = [*COMMAND, "train", "--spec", str(spec)]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 120
        while not act():
            assert time.monotonic() < deadline and run.poll() is None, run.communicate()[1]
            time.sleep(0.01)
        begin = time.monotonic()
        said = run.communicate(timeout=120)[1]
    return run.returncode, said, time.monotonic() - begin


def events(run_dir: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "status.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == kind]


def test_a_stopped_rank_is_named(demo_material: Path, tmp_path: Path) -> None:
    two = {"policy__parallelism__dp_shard_size": 2, "train__train_batch_per_replica": 4, "train__epoch": 500}
    spec = write_train_spec(
        tmp_path / "train.yaml", demo_material, tmp_path / "run", train__train_policy__mini_batch=4, **two
    )

    def stop_rank_1() -> bool:
        read = read_beat(path_of(tmp_path / "run", 1))
        if read is None or read[0].step < 1:
            return False
        os.kill(read[0].pid, signal.SIGSTOP)
        return True

    code, said, seconds = run_until(tmp_path, spec, stop_rank_1)
    assert code == 3
    assert "rank 1 (process " in said and "has been silent for" in said
    [hang] = events(tmp_path / "run", "hang")
    assert (hang["rank"], hang["silent"]) == (1, True)
    assert seconds < 4 * HANG_S


def test_a_decoder_that_hangs_is_named_with_its_file(demo_material: Path, tmp_path: Path) -> None:
    """A clip becomes a pipe that nobody writes to, in the second epoch: opening it never returns."""
    import shutil

    shutil.copytree(demo_material, tmp_path / "material")
    clip = sorted((tmp_path / "material/train/clips").iterdir())[0]
    spec = write_train_spec(tmp_path / "train.yaml", tmp_path / "material", tmp_path / "run", train__epoch=500)

    def replace_clip() -> bool:
        read = read_beat(path_of(tmp_path / "run", 0))
        if read is None or read[0].step < 8:
            return False
        clip.unlink()
        os.mkfifo(clip)
        return True

    code, said, seconds = run_until(tmp_path, spec, replace_clip)
    assert code == 3
    assert "rank 0 has made no progress for" in said and f", reading {clip}" in said
    assert seconds < 4 * HANG_S
    [hang] = events(tmp_path / "run", "hang")
    assert hang["files"] == [str(clip)] and hang["phase"] == "data"
    assert any("media.py" in line or "frames.py" in line for line in hang["stack"])
    assert events(tmp_path / "run", "failed")[0]["rank"] == 0


def test_who_waits_for_another_rank_is_no_culprit() -> None:
    waiting = replace(BEAT, quiet_s=50.0)
    busy, loading = replace(BEAT, rank=1), replace(BEAT, rank=1, phase="data", quiet_s=50.0, files=("a.mp4",))
    assert find_hangs({0: (waiting, 0.0), 1: (busy, 0.0)}, 10.0) == []
    assert [hang.beat.rank for hang in find_hangs({0: (waiting, 0.0), 1: (loading, 0.0)}, 10.0)] == [1]
    behind = replace(waiting, rank=1, marks=39)
    assert [hang.beat.rank for hang in find_hangs({0: (waiting, 0.0), 1: (behind, 0.0)}, 10.0)] == [1]
    assert [hang.silent for hang in find_hangs({0: (waiting, 0.0), 1: (busy, 11.0)}, 10.0)] == [True]


def test_a_long_phase_has_more_time_and_a_finished_rank_all_of_it() -> None:
    saving = replace(BEAT, phase="checkpoint", quiet_s=50.0)
    assert find_hangs({0: (saving, 0.0)}, 10.0) == []
    assert len(find_hangs({0: (replace(saving, quiet_s=61.0), 0.0)}, 10.0)) == 1
    assert find_hangs({0: (replace(BEAT, phase="done"), 1e6)}, 10.0) == []


def test_a_slow_rank_is_told_by_what_it_does_alone() -> None:
    before = [replace(BEAT, rank=rank) for rank in range(3)]
    spent = [{"data": 3.0, "forward": 40.0}, {"data": 30.0, "forward": 5.0}, {"data": 2.0, "forward": 41.0}]
    after = [replace(beat, seconds=seconds) for beat, seconds in zip(before, spent, strict=True)]
    [slow] = find_slow(before, after, 60.0)
    assert (slow.rank, slow.phase, slow.seconds, slow.others_s) == (1, "data", 30.0, 2.5)


def test_beats_are_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "heartbeat").mkdir()
    beat = replace(BEAT, files=("a.mp4",), seconds={"data": 1.5})
    write_beat(tmp_path, beat)
    read = read_beat(path_of(tmp_path, 0))
    assert read is not None and read[0] == beat
    path_of(tmp_path, 0).write_text('{"rank": 0, "ph')
    assert read_beat(path_of(tmp_path, 0)) is None


def test_out_of_memory_says_what_to_lower() -> None:
    with pytest.raises(RuntimeError) as host:
        torch.empty(1 << 50)
    said = out_of_memory(host.value)
    assert said is not None and said.startswith("the host is out of memory") and "mini_batch" in said
    gpu = out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert gpu is not None and gpu.startswith("the GPU is out of memory")
    assert out_of_memory(RuntimeError("shapes do not fit")) is None
