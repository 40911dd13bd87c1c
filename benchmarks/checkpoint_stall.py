"""What a save costs training: the stall of an asynchronous one beside the time of a synchronous one, on tiny CPU state.

Prediction, before the first run: 0.25 (collecting and copying the state; writing, syncing and hashing it is the rest).
Target: at most 0.40. Both write the same state of a small model with Adam to the same disk, alternating; medians.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.distributed.fsdp import fully_shard

from tao_runtime.engine.checkpoint import Checkpointer, train_state
from tao_runtime.engine.commits import Commit, damage, list_commits
from tao_runtime.engine.dist import World, join_world
from tao_runtime.engine.optimizer import ShardOptimizer, trainable
from tao_runtime.plan.model import CheckpointPlan, OptimizerPlan

SAVES, TARGET, PREDICTED = 15, 0.40, 0.25
WIDTH, LAYERS = 128, 24  # 0.4 M parameters in 48 tensors: the size of the demo's model
ADAMW = OptimizerPlan(
    name="AdamW",
    lr={"global": 1e-3},
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.01,
    implementation="foreach",
    grad_clip=1.0,
)
RESULT = Path(__file__).parent / "results" / "checkpoint_stall.json"
Mode = Literal["sync", "async"]


def make_checkpointer(root: Path, world: World, mode: Mode) -> Checkpointer:
    plan = CheckpointPlan(enabled=True, every_steps=1, max_keep=2, mode=mode, resume=True, export_safetensors=False)
    return Checkpointer(root / mode, plan, world, launch_id="bench")


def measure(root: Path, world: World) -> dict[str, list[float]]:
    """Return the seconds that training waits for each save, by mode."""
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)))
    fully_shard(model, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
    parameters = trainable(model)
    optimizer = ShardOptimizer(parameters, dict.fromkeys(parameters, 1e-3), ADAMW)
    modes: tuple[Mode, Mode] = ("sync", "async")
    savers = {mode: make_checkpointer(root, world, mode) for mode in modes}
    waits: dict[str, list[float]] = {mode: [] for mode in modes}
    for step in range(1, SAVES + 2):
        model(torch.ones(4, WIDTH)).sum().backward()
        optimizer.take_gradients()
        optimizer.step()
        for mode, saver in savers.items():
            commit = Commit(step=step, world_size=1, identity="bench", spec_sha256="bench", files={})
            start = time.perf_counter()
            saver.save(train_state(optimizer), commit)
            waits[mode] += [time.perf_counter() - start] if step > 1 else []  # the first one imports and plans
            saver.wait()  # a step of training is longer than a save: the next one never waits for it
    for mode, saver in savers.items():
        assert saver.last_step == SAVES + 1
        assert not any(damage(*each, hashes=True) for each in list_commits(root / mode))
    return waits


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, join_world() as world:
        waits = measure(Path(folder), world)
        bytes_ = sum(path.stat().st_size for path in (Path(folder) / "sync").glob(f"iter_{SAVES + 1:09d}/**/*"))
    medians = {mode: statistics.median(seconds) for mode, seconds in waits.items()}
    result = {
        "benchmark": "checkpoint_stall",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "torch": torch.__version__,
        "saves": SAVES,
        "bytes_a_save": bytes_,
        **{f"{mode}_s": {"median": round(medians[mode], 4), "worst": round(max(waits[mode]), 4)} for mode in waits},
        "ratio_of_medians": round(medians["async"] / medians["sync"], 3),
        "predicted": PREDICTED,
        "target": TARGET,
    }  # fmt: skip
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT.read_text(), end="")


if __name__ == "__main__":
    main()
