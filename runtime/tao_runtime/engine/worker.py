"""Entry point of one worker process: `python -m tao_runtime.engine.worker ACTION RUN_DIR`, alone or under torchrun."""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from pathlib import Path

import torch
from torch.distributed import DistError

from tao_runtime.engine.dist import World, join_world
from tao_runtime.engine.run_dir import PLAN, RunLog
from tao_runtime.engine.stop import listen_for_stop
from tao_runtime.engine.supervise import die_with_parent
from tao_runtime.engine.watchdog import watched
from tao_runtime.errors import ExitCode, RunError, StoppedError, TaoError
from tao_runtime.plan.model import (
    EvaluatePlan,
    InferencePlan,
    QuantizePlan,
    TrainPlan,
    VideoEvaluatePlan,
    VideoInferencePlan,
)

# Gloo has no exception of its own for a peer that is gone.
GLOO_LOST = re.compile(r"[Cc]onnection (closed|reset) by peer|Connection refused|Timed out waiting|gloo/transport")

# Nor has the CPU allocator one for memory that is not there.
HOST_MEMORY = re.compile(r"can't allocate memory|DefaultCPUAllocator")


def run_action(action: str, run_dir: Path, world: World) -> None:
    """Execute the plan of a run directory. Each action imports its own libraries: they take a second of every start."""
    text = (run_dir / PLAN).read_text()
    if action == "train":
        train(text, run_dir, world)
    elif action == "quantize":
        from tao_runtime.engine.quantize.run import Quantizer  # noqa: PLC0415

        Quantizer(QuantizePlan.model_validate_json(text), run_dir, world).run()
    elif is_of(text, VideoEvaluatePlan):
        from tao_runtime.engine.evaluate_clips import evaluate_clips  # noqa: PLC0415

        evaluate_clips(VideoEvaluatePlan.model_validate_json(text), run_dir, world)
    elif is_of(text, VideoInferencePlan):
        from tao_runtime.engine.generate import generate_videos  # noqa: PLC0415

        generate_videos(VideoInferencePlan.model_validate_json(text), run_dir, world)
    elif action == "evaluate":
        from tao_runtime.engine.evaluate import evaluate  # noqa: PLC0415

        evaluate(EvaluatePlan.model_validate_json(text), run_dir, world)
    else:
        from tao_runtime.engine.infer import infer  # noqa: PLC0415

        infer(InferencePlan.model_validate_json(text), run_dir, world)


def train(plan: str, run_dir: Path, world: World) -> None:
    """Train, heard by signals and watched."""
    from tao_runtime.engine.train import Trainer  # noqa: PLC0415 - as above

    launch = world.agreed_id()
    with (
        listen_for_stop(world) as stop,
        watched(run_dir, rank=world.rank, size=world.size, launch=launch) as watchdog,
    ):
        Trainer(TrainPlan.model_validate_json(plan), run_dir, world, stop=stop, watchdog=watchdog).run()


def is_of(plan: str, kind: type[VideoEvaluatePlan | VideoInferencePlan]) -> bool:
    """Whether a plan is one of video, not of answers."""
    return bool(json.loads(plan)["schema"] == kind.model_fields["schema_version"].default)


def main(action: str, run_dir: Path) -> int:
    """Run, and turn errors of ours into one line, a status event and an exit code."""
    die_with_parent()
    warnings.filterwarnings("ignore", message=".*(Gloo|destroy_process_group|_flatten).*")
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")  # the loss writes to none
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    rank = int(os.environ.get("RANK", "0"))
    try:
        with join_world() as world:
            run_action(action, run_dir, world)
    except StoppedError as stopped:
        if rank == 0:
            print(stopped, file=sys.stderr, flush=True)
        return int(stopped.exit_code)
    except DistError as error:
        return lost_peer(rank, error)
    except (RuntimeError, MemoryError) as error:
        if (reason := out_of_memory(error)) is not None:
            return failed(rank, run_dir, RunError(reason))
        if not GLOO_LOST.search(str(error)):
            raise
        return lost_peer(rank, error)
    except TaoError as error:
        return failed(rank, run_dir, error)
    return int(ExitCode.DONE)


def failed(rank: int, run_dir: Path, error: TaoError) -> int:
    """Say why this rank ends, on the terminal and in status.jsonl."""
    print(f"rank {rank}: {error}", file=sys.stderr, flush=True)
    RunLog(run_dir, is_main=True).status("failed", rank=rank, reason=str(error))
    return int(error.exit_code)


def out_of_memory(error: RuntimeError | MemoryError) -> str | None:
    """Return a sentence that says what to lower, None for any other error."""
    first = str(error).partition("\n")[0]
    if isinstance(error, torch.OutOfMemoryError):
        where = "the GPU"
    elif isinstance(error, MemoryError) or HOST_MEMORY.search(first):
        where = "the host"
    else:
        return None
    return (
        f"{where} is out of memory ({first[:200]}). Fix: lower train.train_policy.mini_batch (same result), "
        "set policy.model_gradient_checkpointing to true, raise policy.parallelism.dp_shard_size, or lower "
        "custom.vision.nframes or total_pixels"
    )


def lost_peer(rank: int, error: Exception) -> int:
    """Say that this rank ends because another one is gone. The launcher knows which, and names it."""
    print(f"rank {rank}: lost another rank: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
    return int(ExitCode.FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
