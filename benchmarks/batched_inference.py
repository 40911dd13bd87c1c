"""Questions that are answered together against one by one, by the tiny model of the demo: the ratio in one run.

Usage: python benchmarks/batched_inference.py [--batch 16] [--rounds 3]
Predicted before the first run: 5 x at 16 questions of 48 new tokens. One question alone is bound by the launch of
operations, which a batch shares; decoding and tokenising, which it does not share, are counted in both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tao_runtime.data.cosmos_reason import PROMPT_FORMAT
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.engine.demo.cosmos_reason import prepare
from tao_runtime.engine.dist import join_world
from tao_runtime.engine.infer import load_responder
from tao_runtime.engine.requests import answer_requests
from tao_runtime.plan.model import GenerationPlan, InferencePlan, ModelPlan


def make_plan(material: Path, *, new_tokens: int) -> InferencePlan:
    return InferencePlan(
        family="cosmos_reason",
        spec_sha256="",
        output_dir="",
        model=ModelPlan(path=str(material / "model"), max_length=1_000_000, dtype="float32"),
        media=str(material / "heldout/annotations.json"),
        media_kind="video",
        prompt="",
        sampling=SamplingPlan(num_frames=8),
        prompt_format=PROMPT_FORMAT,
        generation=GenerationPlan(max_new_tokens=new_tokens),
        world=1,
    )


def seconds_of(responder: Any, plan: InferencePlan, size: int) -> tuple[float, list[str | None]]:
    """Return the CPU seconds that all questions take, `size` at a time, and the answers."""
    asked = list(enumerate(answer_requests(plan)))
    answers: list[str | None] = []
    start = time.process_time()
    for first in range(0, len(asked), size):
        chunk = asked[first : first + size]
        items = [responder.maker.make(record, number, root, generate=True) for number, (record, root) in chunk]
        answers += responder.answer(items, plan.generation)
    return time.process_time() - start, answers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, join_world() as world:
        prepare(Path(folder), share=0.08)
        plan = make_plan(Path(folder), new_tokens=given.new_tokens)
        log: Any = SimpleNamespace(gate=lambda *names, **detail: None)
        responder = load_responder(plan, world, log)
        seconds_of(responder, plan, given.batch)  # warm
        ratios, same = [], True
        for _ in range(given.rounds):
            alone, one = seconds_of(responder, plan, 1)
            together, many = seconds_of(responder, plan, given.batch)
            ratios.append(alone / together)
            same = same and one == many
    print(json.dumps({
        "questions": len(one),
        "batch": given.batch,
        "new_tokens": given.new_tokens,
        "cpu_seconds_one_by_one": round(alone, 2),
        "cpu_seconds_batched": round(together, 2),
        "ratio_median": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "answers_equal": same,
        "torch": torch.__version__,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
