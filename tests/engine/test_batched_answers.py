"""A batch of prompts of different lengths and media is answered as each one alone is."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from factory import make_image

torch = pytest.importorskip("torch")

from tao_runtime.data.vision import SamplingPlan
from tao_runtime.engine.dist import join_world
from tao_runtime.engine.infer import load_responder
from tao_runtime.plan.model import GenerationPlan, InferencePlan, ModelPlan


def records(material: Path, folder: Path) -> list[dict[str, Any]]:
    """Two clips, a picture, two texts alone, in no order of length."""
    clips = sorted((material / "heldout/clips").iterdir())
    make_image(folder / "picture.png", width=96, height=64)

    def ask(text: str, **media: str) -> dict[str, Any]:
        return {"id": text[:9], **media, "conversations": [{"from": "human", "value": text}]}

    return [
        ask("<video>\nWhich way does the square move?", video=str(clips[0])),
        ask("What is a square?"),
        ask("<image>\nWhat colour is it, and is there anything else to be seen?", image=str(folder / "picture.png")),
        ask("<video>\nWhich way does the square move? Answer with one word, left or right.", video=str(clips[1])),
        ask("Say something that is much longer than what was asked before, about colours, or squares, or both."),
    ]


def test_a_batch_is_answered_as_each_alone(demo_material: Path, tmp_path: Path) -> None:
    from tao_runtime.data.cosmos_reason import PROMPT_FORMAT

    plan = InferencePlan(
        family="cosmos_reason",
        spec_sha256="",
        output_dir=str(tmp_path),
        model=ModelPlan(path=str(demo_material / "model"), max_length=1_000_000, dtype="float32"),
        media="",
        media_kind="video",
        prompt="",
        sampling=SamplingPlan(num_frames=8),
        prompt_format=PROMPT_FORMAT,
        generation=GenerationPlan(max_new_tokens=24),
        world=1,
    )
    log: Any = SimpleNamespace(gate=lambda *names, **detail: None)
    with join_world() as world:
        responder = load_responder(plan, world, log)
    asked = enumerate(records(demo_material, tmp_path))
    items = [responder.maker.make(record, number, Path("/"), generate=True) for number, record in asked]
    assert len({len(item.ids) for item in items}) == len(items)
    alone = [responder.answer([item], plan.generation)[0] for item in items]
    assert responder.answer(items, plan.generation) == alone
    assert responder.answer(items[::-1], plan.generation) == alone[::-1]
    assert len(set(alone)) == len(alone), json.dumps(alone)
