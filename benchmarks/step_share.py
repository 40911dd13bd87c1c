"""Share of a training's wall time that is inside steps: forward, backward, optimizer. 181 steps, a save every 20.

Outside are waiting for data, saves, validations, metrics and everything else between two steps. Predicted before the
first run: 0.95. The log of upstream that is known, with the same cadence, reaches 0.776.

Usage: python benchmarks/step_share.py
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

import yaml
from train_throughput import BATCH, make_data, run

from tao_runtime.engine.demo.cosmos_reason import make_snapshot

STEPS, SAVE_EVERY, TARGET, PREDICTED = 181, 20, 0.95, 0.95
INSIDE = ("time/forward_s", "time/backward_s", "time/optimizer_s")
RESULT = Path(__file__).parent / "results/step_share.json"


def train(folder: Path) -> list[dict[str, float]]:
    """Train; return the metrics of every step."""
    spec = {
        "results_dir": str(folder / "run"),
        "custom": {
            "train_dataset": {"annotation_path": str(folder / "data")},
            "val_dataset": {"annotation_path": str(folder / "val")},
            "vision": {"nframes": 16, "total_pixels": 128 * 128 * 16},
        },
        "policy": {"model_name_or_path": str(folder / "model"), "model_gradient_checkpointing": False},
        "train": {
            "epoch": 10,
            "max_num_steps": STEPS,
            "train_batch_per_replica": BATCH,
            "optm_lr": 7e-4,
            "param_dtype": "float32",
            "ckpt": {"save_freq": SAVE_EVERY, "save_mode": "async", "max_keep": 3},
            "train_policy": {"type": "sft", "mini_batch": BATCH, "dataloader_num_workers": 1},
        },
        "validation": {"freq": 60, "batch_size": BATCH},
        "logging": {"log_interval": 1},
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(spec))
    run(sys.executable, "-c", "from tao_runtime.cli import main; main()", "train", "--spec", str(path))
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "time/step_s" in line]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_snapshot(folder / "model")
        make_data(folder / "data")
        make_data(folder / "val", clips=24)
        lines = train(folder)
    assert len(lines) == STEPS
    wall = sum(line["time/step_s"] for line in lines)
    parts = {key: sum(line[f"time/{key}_s"] for line in lines) / wall for key in ("data", "checkpoint", "validate")}
    result = {
        "benchmark": "step_share",
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU",
        "steps": STEPS,
        "saves": -(-STEPS // SAVE_EVERY),
        "wall_s": round(wall, 2),
        "share_inside_steps": round(sum(line[key] for line in lines for key in INSIDE) / wall, 4),
        "share_of": {key: round(value, 4) for key, value in parts.items()},
        "predicted": PREDICTED,
        "target": TARGET,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULT.read_text(), end="")


if __name__ == "__main__":
    main()
