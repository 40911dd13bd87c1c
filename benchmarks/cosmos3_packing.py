"""A training step of eight samples of mixed sizes through a tiny Cosmos3: packed in one forward, against one by one.

One by one is the library's own forward with its own attention. Both give the same gradient (tests/engine/families/
test_cosmos3_packing.py). Prediction: one by one pays for every layer's launch eight times; the work is the same.
Target: 2.5 times as fast.

Usage: python benchmarks/cosmos3_packing.py [STEPS]
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tao_runtime.engine.demo.cosmos3_vision import tiny_network
from tao_runtime.engine.families.cosmos3_vision.packing import (
    PackedAttention,
    PackSample,
    install,
    pack,
    run_packed,
)

RESULT = Path(__file__).parent / "results/cosmos3_packing.json"
TARGET = 2.5
# Text tokens, latent frames x rows x columns, given frames.
SAMPLES = [
    (30, (5, 4, 4), 0),
    (39, (5, 4, 4), 1),
    (12, (3, 6, 4), 2),
    (25, (5, 4, 4), 0),
    (39, (5, 4, 4), 1),
    (39, (5, 4, 4), 0),
    (20, (5, 4, 4), 2),
    (33, (5, 4, 4), 0),
]


def loss(outputs: list[torch.Tensor]) -> torch.Tensor:
    return sum(output.square().mean() for output in outputs) / len(outputs)


def seconds(step: Callable[[], list[torch.Tensor]], steps: int) -> float:
    """Return the median CPU seconds of forward and backward: one thread, so that a busy machine does not count."""
    times = []
    for _ in range(steps + 2):
        start = time.process_time()
        loss(step()).backward()
        times.append(time.process_time() - start)
    return statistics.median(times[2:])


def main(steps: int) -> None:
    """Measure both, alternating their order, and record the ratio."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    single = tiny_network(num_hidden_layers=3, intermediate_size=192)
    packing = tiny_network(num_hidden_layers=3, intermediate_size=192)
    processor = PackedAttention()
    install(packing, processor)
    samples = [
        PackSample(torch.randint(0, 40, (length,)), torch.randn(16, *shape), 100.0 * number, given, fps=16.0)
        for number, (length, shape, given) in enumerate(SAMPLES, 1)
    ]

    def one_by_one() -> list[torch.Tensor]:
        packs = [pack([sample], single.config, temporal_compression=4) for sample in samples]
        return [single(**each.arguments, return_dict=False)[0][0][0] for each in packs]

    def packed() -> list[torch.Tensor]:
        return run_packed(packing, pack(samples, packing.config, temporal_compression=4), processor)

    rounds = [(seconds(one_by_one, steps), seconds(packed, steps)) for _ in range(3)]
    ratios = sorted(alone / together for alone, together in rounds)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread, torch {torch.__version__}",
        "date": datetime.date.today().isoformat(),
        "samples": len(samples),
        "tokens": pack(samples, packing.config, temporal_compression=4).num_tokens,
        "one_by_one_cpu_s": round(statistics.median(alone for alone, _ in rounds), 4),
        "packed_cpu_s": round(statistics.median(together for _, together in rounds), 4),
        "times_as_fast": round(ratios[1], 2),
        "times_as_fast_range": [round(ratios[0], 2), round(ratios[-1], 2)],
        "target": TARGET,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    assert ratios[1] >= TARGET, f"{ratios[1]:.2f} times as fast; want {TARGET}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
