"""Entry point of one worker process: `python -m tao_runtime.engine.worker ACTION RUN_DIR`, alone or under torchrun."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import torch

from tao_runtime.engine.dist import World, join_world
from tao_runtime.engine.evaluate import evaluate
from tao_runtime.engine.infer import infer
from tao_runtime.engine.run_dir import PLAN, RunLog
from tao_runtime.engine.train import Trainer
from tao_runtime.errors import ExitCode, TaoError
from tao_runtime.plan.model import EvaluatePlan, InferencePlan, TrainPlan


def run_action(action: str, run_dir: Path, world: World) -> None:
    """Execute the plan of a run directory."""
    text = (run_dir / PLAN).read_text()
    if action == "train":
        Trainer(TrainPlan.model_validate_json(text), run_dir, world).run()
    elif action == "evaluate":
        evaluate(EvaluatePlan.model_validate_json(text), run_dir, world)
    else:
        infer(InferencePlan.model_validate_json(text), run_dir, world)


def main(action: str, run_dir: Path) -> int:
    """Run, and turn errors of ours into one line, a status event and an exit code."""
    warnings.filterwarnings("ignore", message=".*(Gloo|destroy_process_group|_flatten).*")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rank = int(os.environ.get("RANK", "0"))
    try:
        with join_world() as world:
            run_action(action, run_dir, world)
    except TaoError as error:
        print(f"rank {rank}: {error}", file=sys.stderr, flush=True)
        RunLog(run_dir, is_main=True).status("failed", rank=rank, reason=str(error))
        return int(error.exit_code)
    return int(ExitCode.DONE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
