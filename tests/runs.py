"""Running the real command line in its own processes, on the demo's material."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import yaml

COMMAND = [sys.executable, "-c", "from tao_runtime.cli import main; main()"]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}


def tao(*args: str, cwd: Path, want: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run `tao-run ARGS`; the exit code must be `want` (None: any)."""
    done = subprocess.run(
        [*COMMAND, *args], cwd=cwd, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
    )
    assert want is None or done.returncode == want, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def training(spec: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run `tao-run train` in the background."""
    return launched("train", spec)


@contextmanager
def launched(action: str, spec: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run `tao-run ACTION` in the background, in a session of its own; killed at the end if it still runs."""
    environment = {**os.environ, **ENVIRONMENT}
    command = [*COMMAND, action, "--spec", str(spec), *args]
    with subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True) as run:
        try:
            yield run
        finally:
            run.kill()


def events(run_dir: Path, name: str | None = None) -> list[dict[str, Any]]:
    """Return the events of status.jsonl that are whole, all or those of one name."""
    status = run_dir / "status.jsonl"
    lines = status.read_text().splitlines() if status.is_file() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [event for event in found if name in (None, event["event"])]


def wait_until(run: subprocess.Popen[str], is_so: Callable[[], object], *, timeout_s: float = 120) -> None:
    """Wait until something is so, while the run lives."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert run.poll() is None and time.monotonic() < deadline, run.stderr and run.stderr.read()
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """Return the processes that a process started; for a launcher of several ranks, those are below its agent."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def write_train_spec(path: Path, material: Path, out: Path, **changes: Any) -> Path:
    """Write the demo's training spec, smaller and with absolute paths; `changes` are dotted keys with __ for dots."""
    from tao_runtime.engine.demo.cosmos_reason import train_spec

    spec = train_spec()
    base = {
        "results_dir": str(out),
        "custom.train_dataset.annotation_path": str(material / "train"),
        "custom.val_dataset.annotation_path": str(material / "val"),
        "policy.model_name_or_path": str(material / "model"),
        "policy.parallelism.dp_shard_size": 1,
        "train.epoch": 2,
        "train.train_batch_per_replica": 8,
        "train.train_policy.mini_batch": 8,
        "train.optm_warmup_steps": 2,
        "train.ckpt": {"save_freq": 3, "max_keep": -1, "save_mode": "sync"},
        "validation.freq_in_epoch": 1,
        "logging.log_interval": 1,
    }
    for key, value in {**base, **{key.replace("__", "."): value for key, value in changes.items()}}.items():
        *tables, leaf = key.split(".")
        place: Any = spec
        for table in tables:
            place = place.setdefault(table, {})
        place[leaf] = value
    path.write_text(yaml.safe_dump(spec))
    return path


def losses(run_dir: Path, name: str = "train/loss") -> list[float]:
    """Return a metric of metrics.jsonl, in order."""
    lines: Sequence[dict[str, float]] = [
        json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()
    ]
    return [line[name] for line in lines if name in line]


def tensors(directory: Path) -> dict[str, Any]:
    """Return every tensor of the safetensors files of a directory."""
    from safetensors.torch import load_file

    return {name: value for file in sorted(directory.glob("*.safetensors")) for name, value in load_file(file).items()}
