"""How much memory loading a base takes on each of two processes, against the size of the model.

Prediction, before the first run: 0.55 of the model at the peak (half of it, its largest tensor twice, buffers).
Target: at most 0.60. A random network of 0.87 GB in float32, in safetensors and in torch's layout. Counted is
anonymous memory beyond what the process had before: pages of files that are mapped can be taken back at any time, and
are told apart.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from accelerate import init_empty_weights

from tao_runtime.data.snapshot import SHARDED, write_contents
from tao_runtime.engine.build import cast_parameters, materialise, shard
from tao_runtime.engine.dcp import write_dcp
from tao_runtime.engine.dist import join_world, make_mesh
from tao_runtime.engine.export.stream import CODES, Form, TensorStream
from tao_runtime.engine.families import wet_family
from tao_runtime.engine.weights import load_base, local
from tao_runtime.plan.model import MeshPlan, PrecisionPlan

PREDICTED, TARGET, RANKS = 0.55, 0.60, 2
FAMILY = "cosmos_predict2"
RESULT = Path(__file__).parent / "results" / "sharded_load.json"
WIDTH = {"num_attention_heads": 16, "attention_head_dim": 64, "num_layers": 13, "adaln_lora_dim": 128}


def write_network(folder: Path) -> int:
    """Write a random network in both layouts, tensor by tensor; returns its bytes."""
    from tao_runtime.engine.demo.cosmos_predict2 import tiny_network

    with init_empty_weights():
        network = tiny_network(**WIDTH)
    forms = {name: Form(torch.float32, tuple(value.shape)) for name, value in network.named_parameters()}

    def read(name: str) -> torch.Tensor:
        return torch.randn(forms[name].shape, generator=torch.Generator().manual_seed(len(name)))

    for layout in ("safetensors", "dcp"):
        network.save_config(folder / layout)
        if layout == "safetensors":
            stream = TensorStream(folder / layout, "diffusion_pytorch_model", forms, shard_bytes=256 << 20)
            for name in forms:
                stream.write(name, read(name))
            stream.close()
            continue
        write_dcp(folder / layout / SHARDED, forms, read)
        write_contents(folder / layout / SHARDED, {n: (CODES[form.dtype], form.shape) for n, form in forms.items()})
    return sum(form.nbytes for form in forms.values())


class Peak:
    """The most anonymous and file memory of this process while it is open, in bytes; looked at every 5 ms."""

    def __enter__(self) -> Peak:
        self.most = {"RssAnon": 0, "RssFile": 0}
        self.before = self._look()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> dict[str, int]:
        lines = Path("/proc/self/status").read_text().splitlines()
        words = {line.split(":")[0]: line.split() for line in lines}
        return {name: int(words[name][1]) << 10 for name in self.most}

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.most = {name: max(self.most[name], value) for name, value in self._look().items()}
            time.sleep(0.005)


def load(folder: Path) -> None:
    """Load on this process among others; the main one prints what all of them took."""
    family = wet_family(FAMILY)
    precision = PrecisionPlan(master="float32", compute="float32", reduce="float32")
    with join_world() as world:
        mesh = make_mesh(MeshPlan(world=world.size, dp_replicate=1, dp_shard=world.size), world.device).weights
        world.barrier()
        with Peak() as peak:
            start = time.perf_counter()
            with init_empty_weights(include_buffers=False):
                model = family.build(folder, packed=True)
            cast_parameters(model, torch.float32)
            shard(model, family, precision, mesh)
            materialise(model, torch.device("cpu"))
            load_base(model, folder)
            seconds = time.perf_counter() - start
        own = sum(local(value).nbytes for value in model.parameters())
        mine = {name: peak.most[name] - peak.before[name] for name in peak.most} | {"own": own, "seconds": seconds}
        told: list[dict[str, float] | None] = [None] * world.size
        torch.distributed.all_gather_object(told, mine, group=world.control)
        if world.is_main:
            print(json.dumps(told))


def measure(folder: Path) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={RANKS}", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, __file__, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        size = write_network(Path(folder))
        ranks = {layout: measure(Path(folder) / layout) for layout in ("safetensors", "dcp")}
    layouts = {
        layout: {
            "own_part": [round(each["own"] / size, 3) for each in seen],
            "peak_anonymous": [round(each["RssAnon"] / size, 3) for each in seen],
            "mapped_files": [round(each["RssFile"] / size, 3) for each in seen],
            "seconds": [round(each["seconds"], 1) for each in seen],
        }
        for layout, seen in ranks.items()
    }
    result = {
        "benchmark": "sharded_load",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "torch": torch.__version__,
        "model_bytes": size,
        "processes": RANKS,
        "of_the_model": layouts,
        "worst_peak": max(share for each in layouts.values() for share in each["peak_anonymous"]),
        "predicted": PREDICTED,
        "target": TARGET,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(RESULT.read_text(), end="")


if __name__ == "__main__":
    torch.set_num_threads(1)
    load(Path(sys.argv[1])) if len(sys.argv) > 1 else main()
