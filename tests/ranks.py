"""Running a function of a test file on several gloo processes, each with one thread."""

from __future__ import annotations

import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def on_ranks(function: Callable[[], None], folder: Path, *, nproc: int = 2, timeout_s: int = 240) -> None:
    """Call a module-level function in `nproc` processes of one group; an assertion that fails in one fails here."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    call = [sys.executable, __file__, inspect.getfile(function), function.__name__, str(folder / "store"), str(nproc)]
    ranks = [
        subprocess.Popen([*call, str(rank)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(nproc)
    ]
    try:
        errors = [rank.communicate(timeout=timeout_s)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    failed = [error for rank, error in zip(ranks, errors, strict=True) if rank.returncode]
    assert not failed, "\n".join(failed)


def main(file: str, name: str, store: str, size: int, rank: int) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    spec = importlib.util.spec_from_file_location("on_ranks", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    getattr(module, name)()
    dist.barrier()
    os._exit(0)  # torch 2.13: gloo aborts a rank whose peer is gone while it takes the group down


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
