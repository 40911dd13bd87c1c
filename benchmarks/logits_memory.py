"""Peak memory of the loss at 8,192 supervised tokens and a vocabulary of 151,936: in chunks against full logits.

Each variant runs forward and backward in a process of its own; the peak of a process that only holds the inputs is
taken off. Prediction: full logits keep three float32 copies of tokens x vocabulary (logits, log-probabilities, their
gradient), 13.9 GiB; in chunks one chunk of them, 0.75 GiB, and the head's gradient.

Usage: python benchmarks/logits_memory.py [TOKENS]
"""

from __future__ import annotations

import datetime
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

VOCABULARY, HIDDEN = 151_936, 64
RESULT = Path(__file__).parent / "results/logits_memory.json"


def measure(variant: str, tokens: int) -> None:
    """Print the peak resident bytes and the CPU seconds of one forward and backward pass."""
    import time

    import torch
    from torch.nn import functional as F  # noqa: N812

    from tao_runtime.engine.losses import CHUNK_NUMBERS, summed_nll

    torch.set_num_threads(1)
    torch.manual_seed(0)
    head = torch.nn.Linear(HIDDEN, VOCABULARY, bias=False)
    hidden = torch.randn(tokens, HIDDEN, requires_grad=True)
    targets = torch.randint(0, VOCABULARY, (tokens,))
    start, loss = time.process_time(), 0.0
    if variant != "inputs":
        if variant == "chunks":
            total = summed_nll(hidden, targets, head, vocabulary=VOCABULARY, chunk_numbers=CHUNK_NUMBERS)
        else:
            total = F.cross_entropy(head(hidden), targets, reduction="sum")
        total.backward()
        loss = total.item()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak, "cpu_s": round(time.process_time() - start, 2), "loss": loss}))


def main(tokens: int) -> None:
    """Run the variants and record their peaks."""
    figures = {}
    for variant in ("inputs", "chunks", "full"):
        command = [sys.executable, __file__, variant, str(tokens)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        figures[variant] = json.loads(done.stdout)
    extra = {name: (figures[name]["peak"] - figures["inputs"]["peak"]) / 2**30 for name in ("chunks", "full")}
    result = {
        "tokens": tokens,
        "vocabulary": VOCABULARY,
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, no GPU",
        "extra_gib": {name: round(value, 2) for name, value in extra.items()},
        "ratio": round(extra["full"] / extra["chunks"], 1),
        "cpu_s": {name: figures[name]["cpu_s"] for name in extra},
        "loss_difference": abs(figures["chunks"]["loss"] / figures["full"]["loss"] - 1),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 8192)
