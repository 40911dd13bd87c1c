"""Cost of the gates: seconds inside them against the whole training, on the demo's tiny model; and of each large part.

Prediction, before the first run: 0.1 s of a training of 8 steps, of which fingerprints take the least; below 5 % of the
time from the first gate to the end. On a real model the fixed cost is one forward pass and three passes over the
weights, in hundreds or thousands of steps. Prediction: checksums of 100 million numbers on a CPU take 0.5 s.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
import yaml

from tao_runtime.engine.demo.cosmos_reason import prepare, train_spec
from tao_runtime.engine.gates.fingerprint import checksum

RUNS, STEPS, NUMBERS = 3, 24, 100_000_000
RESULT = Path(__file__).parent / "results" / "gates_cost.json"
COMMAND = [sys.executable, "-c", "from tao_runtime.cli import main; main()", "train", "--spec", "train.yaml"]


def run_once(folder: Path, number: int) -> dict[str, float]:
    """Train, and return the seconds of the gates and of the run."""
    spec = train_spec()
    spec["results_dir"] = f"run-{number}"
    spec["policy"]["parallelism"] = {"dp_shard_size": 1}  # type: ignore[index]
    spec["train"]["max_num_steps"] = STEPS  # type: ignore[index]
    spec["logging"] = {"log_interval": 1}
    (folder / "train.yaml").write_text(yaml.safe_dump(spec))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(COMMAND, cwd=folder, env=environment, check=True, capture_output=True)
    run_dir = folder / f"run-{number}"
    events = [json.loads(line) for line in (run_dir / "status.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [line["time/step_s"] for line in metrics if "time/step_s" in line]
    [gates] = [event["seconds"] for event in events if event["event"] == "gates"]
    return {
        "gates_s": gates,
        "run_s": json.loads((run_dir / "run.json").read_text())["seconds"],
        "median_step_s": statistics.median(steps),
    }


def time_checksum() -> float:
    """Return the seconds of one checksum of many float32 numbers, each of them looked at."""
    parts = [torch.rand(10_000_000) for _ in range(NUMBERS // 10_000_000)]
    begin = time.perf_counter()
    for part in parts:
        checksum(part)
    return time.perf_counter() - begin


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, share=0.3)
        runs = [run_once(folder, number) for number in range(RUNS)]
    best = {key: min(run[key] for run in runs) for key in runs[0]}
    result = {
        "benchmark": "gates_cost",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "model": "433,216 parameters, all trained, float32, one process",
        "steps": STEPS,
        "runs": RUNS,
        **{key: round(value, 4) for key, value in best.items()},
        "run_with_gates_against_without": round(
            statistics.median(run["run_s"] / (run["run_s"] - run["gates_s"]) for run in runs), 4
        ),
        "gates_in_steps": round(statistics.median(run["gates_s"] / run["median_step_s"] for run in runs), 2),
        "checksum_100M_float32_s": round(time_checksum(), 3),
        "predicted": {"gates_s": 0.1, "run_with_gates_against_without": 1.05, "checksum_100M_float32_s": 0.5},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT.read_text(), end="")


if __name__ == "__main__":
    main()
