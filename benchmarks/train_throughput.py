"""Useful tokens per CPU-second of training, decoding included, first and second epoch: tao-run against TRL.

The same random 433k-parameter Qwen3-VL, the same clips (4 to 16 frames, 64 to 128 pixels, answers of 1 to 40 words),
batch 8, float32, one thread, one process; tao-run with everything on: gates, ledger, metrics, a commit each epoch.
Prediction before the first run: 1.8 x TRL in the first epoch, 2.8 x in the second (the best plain loop that was known).

Usage: python benchmarks/train_throughput.py [--peer-python PYTHON] [--rounds N]
PYTHON is an interpreter with trl and this package; its torchvision may lie in <prefix>/reference (scripts/test.sh).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

from tao_runtime.engine.demo.clips import write_clip
from tao_runtime.engine.demo.cosmos_reason import make_snapshot

CLIPS, BATCH, EPOCHS = 480, 8, 2
WORDS = ("left", "right", "up", "down")
RESULT = Path(__file__).parent / "results/train_throughput.json"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


def make_data(root: Path, *, clips: int = CLIPS) -> None:
    """Write clips of every length and size, and answers of every length."""
    rng = random.Random(0)
    (root / "clips").mkdir(parents=True)
    records = []
    for number in range(clips):
        side = rng.choice((64, 96, 128))
        frames_THWC = np.zeros((rng.randrange(4, 17, 2), side, side, 3), np.uint8)
        for step, frame in enumerate(frames_THWC):
            frame[8:24, 3 * step : 3 * step + 16] = rng.randrange(80, 255)
        name = f"clips/{number:04d}.mp4"
        write_clip(root / name, frames_THWC)
        answer = " ".join(rng.choices(WORDS, k=rng.randint(1, 40)))
        turns = [{"from": "human", "value": "<video>\nWhich way?"}, {"from": "gpt", "value": answer}]
        records.append({"id": str(number), "video": name, "video_fps": 8, "conversations": turns})
    (root / "annotations.json").write_text(json.dumps(records))


def run_ours(folder: Path, round_number: int) -> list[float]:
    """Return tokens per CPU-second of each epoch."""
    out = folder / f"ours-{round_number}"
    spec = {
        "results_dir": str(out),
        "custom": {
            "train_dataset": {"annotation_path": str(folder / "data")},
            "vision": {"nframes": 16, "total_pixels": 128 * 128 * 16},
        },
        "policy": {"model_name_or_path": str(folder / "model"), "model_gradient_checkpointing": False},
        "train": {
            "epoch": EPOCHS,
            "train_batch_per_replica": BATCH,
            "optm_lr": 7e-4,
            "param_dtype": "float32",
            "train_policy": {"type": "sft", "mini_batch": BATCH, "dataloader_num_workers": 0},
        },
        "validation": {"enable": False},
        "logging": {"log_interval": CLIPS // BATCH},
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(spec))
    run(sys.executable, "-c", "from tao_runtime.cli import main; main()", "train", "--spec", str(path))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["train/tokens"] / (line["time/cpu_s"] * (CLIPS // BATCH)) for line in lines if "time/cpu_s" in line]


def run_peer(folder: Path, python: str) -> list[float]:
    """Return what the peer's script prints: tokens per CPU-second of each epoch."""
    script = Path(__file__).parent / "peers/trl_video_sft.py"
    return list(json.loads(run(python, str(script), str(folder), str(BATCH), str(EPOCHS)).splitlines()[-1]))


def run(*command: str) -> str:
    """Run a process; returns its standard output."""
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="interpreter with trl; without it only tao-run is measured")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_snapshot(folder / "model")
        make_data(folder / "data")
        rounds: dict[str, list[list[float]]] = {"tao-run": [], "trl": []}
        for number in range(args.rounds):  # alternating, so that other work on the machine falls on both
            rounds["tao-run"].append(run_ours(folder, number))
            if args.peer_python:
                rounds["trl"].append(run_peer(folder, args.peer_python))
    medians = {
        name: [round(statistics.median(each), 1) for each in zip(*figures, strict=True)]
        for name, figures in rounds.items()
        if figures
    }
    result = {
        "unit": "useful tokens per CPU-second, by epoch",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, no GPU",
        "date": datetime.date.today().isoformat(),
        "rounds": args.rounds,
        "median": medians,
        "all": rounds,
    }
    if "trl" in medians:
        result["ratio"] = [round(a / b, 2) for a, b in zip(medians["tao-run"], medians["trl"], strict=True)]
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in ("median", "ratio") if key in result}, indent=1))


if __name__ == "__main__":
    main()
