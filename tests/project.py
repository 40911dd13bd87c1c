"""A small project on disk, for tests of plans and commands: real clips, a whole-looking snapshot, a spec per action."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from factory import make_dataset, make_snapshot
from tao_runtime.data.facts import Facts
from tao_runtime.plan.model import Plan, TrainPlan
from tao_runtime.preflight.prepare import Prepared, prepare

RECORDS, CLIPS = 40, 4


class Project:
    """40 training records over 4 clips, 4 validation records over 1, batch 8 of micro-batch 4, 10 epochs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.train = make_dataset(root / "train", RECORDS, num_clips=CLIPS)
        self.val = make_dataset(root / "val", 4, num_clips=1, seed=90)
        self.model = make_snapshot(root / "model")

    def tables(self, action: str) -> dict[str, Any]:
        """The tables of a spec that has no finding."""
        out = str(self.root / "out")
        if action == "train":
            data = {"train_dataset": {"annotation_path": str(self.train)},
                    "val_dataset": {"annotation_path": str(self.val)}}  # fmt: skip
            train = {"train_batch_per_replica": 8, "train_policy": {"type": "sft", "mini_batch": 4}}
            policy = {"model_name_or_path": str(self.model)}
            return {"results_dir": out, "custom": data, "policy": policy, "train": train}
        if action == "evaluate":
            data = {"annotation_path": str(self.val)}
            return {"results_dir": out, "dataset": data, "model": {"model_name": str(self.model)}}
        if action == "inference":
            return {"results_dir": out, "media": str(self.val / "clip_0.mp4"), "model_path": str(self.model)}
        data: dict[str, Any] = {
            "dataset": {"annotation_path": str(self.train)},
            "proof": {"annotation_path": str(self.val)},
        }
        data["quantize"] = {"num_calibration_samples": 32}
        return {"results_dir": out, "model": {"model_path": str(self.model)}, **data}

    def spec(self, action: str = "train") -> Path:
        """Write the spec of an action; return its path."""
        path = self.root / f"{action}.yaml"
        path.write_text(yaml.safe_dump(self.tables(action)))
        return path

    def prepare(self, *overrides: str, action: str = "train", nproc: int | None = None) -> Prepared:
        return prepare(self.spec(action), overrides, action=action, nproc=nproc)

    def plan(self, *overrides: str, nproc: int | None = None) -> TrainPlan:
        plan: Plan | None = self.prepare(*overrides, nproc=nproc).plan
        assert isinstance(plan, TrainPlan)
        return plan

    def facts(self, *overrides: str) -> Facts:
        return self.prepare(*overrides).facts
