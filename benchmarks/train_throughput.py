"""Useful tokens per CPU-second of training, decoding included, by epoch: tao-run against TRL and LLaMA-Factory.

The same random 433k-parameter Qwen3-VL, the same clips (4 to 16 frames, 64 to 128 pixels, answers of 1 to 40 words),
batch 8, float32, one thread, one process; tao-run with everything on: gates, ledger, metrics, a commit each epoch.
Padding does not count as tokens. What comes before the first step and after the last is measured for none of them.
A commit falls into the next epoch's figure, so one of two is measured; the peers save nothing in training. In the
second epoch tao-run finds its decoded frames in memory, the peers decode again.
Predictions before the first runs: 1.8 x TRL in the first epoch, 2.8 x in the second (the best plain loop that was
known); 1.9 x LLaMA-Factory and 2.5 x.

Usage: python benchmarks/train_throughput.py [--trl PYTHON] [--llamafactory PYTHON] [--rounds N]
PYTHON is an interpreter with that peer and PyAV; torchvision for TRL may lie in <prefix>/reference (scripts/test.sh).
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

from tao_runtime.engine.demo.cosmos_reason import make_snapshot
from tao_runtime.engine.video_file import write_video

CLIPS, BATCH, EPOCHS = 480, 8, 2
PEERS = ("trl", "llamafactory")  # also the names of their distributions, and of their scripts in peers/
Epoch = tuple[int, float]  # useful tokens, CPU seconds
TOTAL_PIXELS = 128 * 128 * 16  # of all frames of a clip: none is made smaller
WORDS = ("left", "right", "up", "down")
RESULT = Path(__file__).parent / "results/train_throughput.json"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


def make_model(directory: Path) -> None:
    """Write a snapshot whose own budget of pixels is the benchmark's: LLaMA-Factory has no setting for it."""
    make_snapshot(directory)
    path = directory / "video_preprocessor_config.json"
    settings = json.loads(path.read_text())
    settings["size"]["longest_edge"] = TOTAL_PIXELS
    path.write_text(json.dumps(settings))


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
        write_video(root / name, frames_THWC, fps=8)
        answer = " ".join(rng.choices(WORDS, k=rng.randint(1, 40)))
        turns = [{"from": "human", "value": "<video>\nWhich way?"}, {"from": "gpt", "value": answer}]
        records.append({"id": str(number), "video": name, "video_fps": 8, "conversations": turns})
    (root / "annotations.json").write_text(json.dumps(records))


def run_ours(folder: Path, round_number: int) -> list[Epoch]:
    out = folder / f"ours-{round_number}"
    spec = {
        "results_dir": str(out),
        "custom": {
            "train_dataset": {"annotation_path": str(folder / "data")},
            "vision": {"nframes": 16, "total_pixels": TOTAL_PIXELS},
        },
        "policy": {"model_name_or_path": str(folder / "model"), "model_gradient_checkpointing": False},
        "train": {
            "epoch": EPOCHS,
            "train_batch_per_replica": BATCH,
            "optm_lr": 7e-4,
            "optm_impl": "fused",
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
    return [
        (int(line["train/tokens"]), line["time/cpu_s"] * (CLIPS // BATCH)) for line in lines if "time/cpu_s" in line
    ]


def run_peer(name: str, python: str, folder: Path) -> list[Epoch]:
    """Return what the peer's script prints last."""
    script = Path(__file__).parent / f"peers/{name}_video_sft.py"
    epochs = json.loads(run(python, str(script), str(folder), str(BATCH), str(EPOCHS)).splitlines()[-1])
    return [(int(tokens), float(seconds)) for tokens, seconds in epochs]


def run(*command: str) -> str:
    """Run a process; returns its standard output."""
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout


def versions(python: str, *names: str) -> dict[str, str]:
    """Ask an interpreter for the versions of distributions."""
    code = "import importlib.metadata, json, sys; print(json.dumps([*map(importlib.metadata.version, sys.argv[1:])]))"
    return dict(zip(names, json.loads(run(python, "-c", code, *names)), strict=True))


def check_same_work(rounds: dict[str, list[list[Epoch]]]) -> dict[str, int]:
    """Return each trainer's tokens of an epoch; trainers that did not see the same clips are not compared."""
    seen = {name: {tokens for epochs in figures for tokens, _ in epochs} for name, figures in rounds.items()}
    counts = [tokens for each in seen.values() for tokens in each]
    if max(counts) > 1.03 * min(counts):
        raise SystemExit(f"tokens per epoch differ by more than 3 %: {seen}")
    return {name: max(each) for name, each in seen.items()}


def summary(rounds: dict[str, list[list[Epoch]]]) -> dict[str, object]:
    """Return tokens of an epoch, tokens per CPU-second, their medians, and the ratios of tao-run to each peer."""
    rates = {
        name: [[round(tokens / seconds, 1) for tokens, seconds in epochs] for epochs in figures]
        for name, figures in rounds.items()
    }
    medians = {
        name: [round(statistics.median(each), 1) for each in zip(*figures, strict=True)]
        for name, figures in rates.items()
    }
    ours = medians["tao-run"]
    ratios = {
        name: [round(a / b, 2) for a, b in zip(ours, theirs, strict=True)]
        for name, theirs in medians.items()
        if name != "tao-run"
    }
    return {"tokens": check_same_work(rounds), "median": medians, "ratio": ratios, "all": rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for peer in PEERS:
        parser.add_argument(f"--{peer}", metavar="PYTHON", help=f"interpreter with {peer}; without it, not measured")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    peers = {peer: getattr(args, peer) for peer in PEERS if getattr(args, peer)}
    rounds: dict[str, list[list[Epoch]]] = {name: [] for name in ("tao-run", *peers)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model")
        make_data(folder / "data")
        for number in range(args.rounds):  # alternating, so that other work on the machine falls on all
            rounds["tao-run"].append(run_ours(folder, number))
            for peer, python in peers.items():
                rounds[peer].append(run_peer(peer, python, folder))
    result = {
        "unit": "useful tokens per CPU-second, by epoch",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, no GPU",
        "date": datetime.date.today().isoformat(),
        "rounds": args.rounds,
        "versions": {
            "tao-run": versions(sys.executable, "transformers", "torch"),
            **{peer: versions(python, peer, "transformers", "torch") for peer, python in peers.items()},
        },
        **summary(rounds),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: result[key] for key in ("tokens", "median", "ratio")}, indent=1))


if __name__ == "__main__":
    main()
