"""Runs of items: what was made before a kill is kept, another request is refused, several questions are all asked."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from runs import events, launched, tao, wait_until

torch = pytest.importorskip("torch")

QUESTIONS = ["Which way does the square move?", "What colour is it?"]


def write_spec(folder: Path, material: Path, **changes: Any) -> Path:
    spec = {
        "results_dir": str(folder / "out"),
        "media": str(material / "heldout/clips"),
        "model_path": str(material / "model"),
        "prompts": QUESTIONS,
        "num_frames": 8,
        "total_pixels": None,
        "max_new_tokens": 8,
        "batch_size": 1,
        **changes,
    }
    path = folder / "inference.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def kept(folder: Path) -> list[dict[str, Any]]:
    lines = [line for part in (folder / "out/parts").glob("*.jsonl") for line in part.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]


def rows(folder: Path) -> list[dict[str, Any]]:
    found = json.loads((folder / "out/results.json").read_text())
    assert isinstance(found, list)
    return found


@pytest.mark.slow
def test_a_killed_inference_goes_on_and_loses_at_most_one_item(demo_material: Path, tmp_path: Path) -> None:
    spec = write_spec(tmp_path, demo_material)
    with launched("inference", spec) as run:
        wait_until(run, lambda: len(kept(tmp_path)) >= 3)
        os.killpg(run.pid, signal.SIGKILL)
    before = kept(tmp_path)
    assert not (tmp_path / "out/run.json").exists() and 3 <= len(before) < 32
    # Half a line, as a kill in the middle of a write leaves it.
    with next((tmp_path / "out/parts").glob("*.jsonl")).open("a") as part:
        part.write('\n{"position": 31, "respo')
    tao("inference", "--spec", str(spec), "--nproc", "2", cwd=tmp_path)
    after = kept(tmp_path)
    assert all(row in after for row in before), "an answer that was there was made again"
    assert sorted(row["position"] for row in after) == list(range(32))
    assert events(tmp_path / "out", "gate")[-1]["kept"] == len(before)
    asked = [(Path(row["video"]).name, row["question"]) for row in rows(tmp_path)]
    assert asked == [(name, each) for name in sorted({name for name, _ in asked}) for each in QUESTIONS]
    assert len({row["id"] for row in rows(tmp_path)}) == 32
    changed = write_spec(tmp_path, demo_material, max_new_tokens=2)
    refused = tao("inference", "--spec", str(changed), cwd=tmp_path, want=1)
    assert "run/other-request" in refused.stderr and "--anew" in refused.stderr
    tao("inference", "--spec", str(changed), "--anew", cwd=tmp_path)
    assert len(kept(tmp_path)) == 32 and kept(tmp_path) != after


def plan(folder: Path, **changes: Any) -> Any:
    from tao_runtime.data.vision import SamplingPlan
    from tao_runtime.plan.model import GenerationPlan, InferencePlan, ModelPlan

    fields = {"family": "cosmos_reason", "spec_sha256": "a", "output_dir": str(folder), "media": str(folder / "clips")}
    rest = {"media_kind": "video", "prompt": "?", "sampling": SamplingPlan(), "prompt_format": "x", "world": 1}
    model = ModelPlan(path=str(folder / "model"), max_length=9)
    made = InferencePlan(**fields, **rest, model=model, generation=GenerationPlan(max_new_tokens=1))  # type: ignore[arg-type]
    return made.model_copy(update=changes)


def test_the_identity_is_that_of_the_request(tmp_path: Path) -> None:
    from tao_runtime.engine.kept import identity_of

    for name in ("clips", "model"):
        (tmp_path / name).mkdir()
    clip, weights = tmp_path / "clips/a.mp4", tmp_path / "model/model.safetensors"
    clip.write_bytes(b"clip")
    weights.write_bytes(b"weights")
    first = identity_of(plan(tmp_path))
    assert identity_of(plan(tmp_path, world=4, output_dir="elsewhere")) == first
    assert identity_of(plan(tmp_path, spec_sha256="b")) != first
    clip.write_bytes(b"another clip")
    second = identity_of(plan(tmp_path))
    weights.write_bytes(b"other weights")
    assert len({first, second, identity_of(plan(tmp_path))}) == 3


def test_a_twice_made_item_is_no_result(tmp_path: Path) -> None:
    from tao_runtime.engine.dist import join_world
    from tao_runtime.engine.item_run import ItemRun
    from tao_runtime.engine.kept import Kept
    from tao_runtime.errors import RunError

    (tmp_path / "parts").mkdir()
    with join_world() as world:
        run = ItemRun(plan(tmp_path), tmp_path, world)
        assert run.make("x", 3, lambda at: [{"made": each} for each in at], size=2) == [{"made": n} for n in range(3)]
        assert ItemRun(plan(tmp_path), tmp_path, world).missing(4) == [3]
        Kept(tmp_path / "parts").append([{"position": 1, "made": 1}], rank=7)
        with pytest.raises(RunError, match="3 records gave 4 results, 3 of them distinct"):
            run.make("x", 3, lambda at: [])
