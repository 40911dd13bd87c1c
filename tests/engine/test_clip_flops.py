"""The arithmetic of clips against what torch counts while the tiny networks run."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from video_runs import make_material, write_video_spec

torch = pytest.importorskip("torch")

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tao_runtime.data.families import network_names
from tao_runtime.data.snapshot import network_folder
from tao_runtime.engine.clip_launch import clip_ledgers
from tao_runtime.engine.families import wet_family
from tao_runtime.engine.run_dir import LEDGER
from tao_runtime.engine.weights import load_base
from tao_runtime.preflight.prepare import prepare

FAMILIES = ["cosmos_predict2", "cosmos_predict1", "cosmos3_vision"]
ALONE: Any = SimpleNamespace(is_main=True, size=1, barrier=lambda: None, device=torch.device("cpu"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_arithmetic_is_what_torch_counts(family: str, tmp_path: Path) -> None:
    """Of one sample, and of several together: attention is quadratic within a sample only."""
    folder = make_material(family, tmp_path)
    prepared = prepare(write_video_spec(folder, folder), action="train")
    plan: Any = prepared.plan
    ledger = clip_ledgers(plan, prepared.facts)["train"]
    ledger.save(folder / LEDGER.format(label="train"))
    base, wet = network_folder(Path(plan.model.path)), wet_family(family)
    model = wet.build(base, packed=True)
    load_base(model, base, added=frozenset(wet.fresh_parameters(model)))
    source, config = wet.open_source(plan, folder, "train", ALONE), json.loads((base / "config.json").read_text())
    flops = network_names(family).clip_flops(config)
    assert flops is not None
    for count in (1, 3):
        items = [source.load(position, 3) for position in range(count)]
        # The counter does not know the CPU's fused attention: with plain products it sees all of it.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            wet.loss(model, source.collate(items))
        text = plan.diffusion.text.max_tokens if plan.diffusion.text.kind == "t5" else None
        ours = [flops(int(tokens), text if text is not None else len(item.text))
                for tokens, item in zip(ledger.length, items, strict=False)]  # fmt: skip
        assert sum(ours) == pytest.approx(counter.get_total_flops(), rel=0.02)
    known = ledger.flops[0]
    assert known == pytest.approx(ours[0], rel=0.02 if family != "cosmos3_vision" else 0.25)  # its text by bytes


def test_long_clips_are_quadratic_and_a_short_config_says_nothing() -> None:
    demo = importlib.import_module("tao_runtime.engine.demo.cosmos_predict2")
    config = dict(demo.tiny_network(num_layers=1).config)
    flops = network_names("cosmos_predict2").clip_flops(config)
    assert flops is not None and 3.9 < flops(2_000_000, 0) / flops(1_000_000, 0) < 4.0
    assert network_names("cosmos_predict2").clip_flops({"num_layers": 1}) is None
    assert network_names("cosmos3_vision").clip_flops({}) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plan_says_how_long_training_takes(family: str, tmp_path: Path) -> None:
    """Where the device is known: three passes over the clips of a step, at the usual share of its peak."""
    from dataclasses import replace

    from tao_runtime.plan.clip_time import sample_flops
    from tao_runtime.plan.devices import UTILISATION
    from tao_runtime.plan.make import make_plan

    folder = make_material(family, tmp_path)
    spec = write_video_spec(
        folder, folder, model__precision="bfloat16", model__activation_checkpointing={"mode": "none"}
    )
    prepared = prepare(spec, action="train")
    assert prepared.plan is not None and prepared.plan.estimate.step_seconds is None  # type: ignore[union-attr]
    host = replace(prepared.facts.host, gpu_name="NVIDIA H100 80GB HBM3")
    plan: Any = make_plan(prepared.spec, replace(prepared.facts, host=host))
    tokens = int(clip_ledgers(plan, prepared.facts)["train"].length[0])
    flops = sample_flops(plan, prepared.facts)
    assert flops is not None
    seconds, samples = plan.estimate.step_seconds, 8  # of a step, by the spec
    assert seconds.expected == pytest.approx(3 * samples * flops(0, tokens) / (989e12 * UTILISATION[1]), rel=0.1)
    assert seconds.low < seconds.expected < seconds.high
    assert plan.estimate.total_seconds.high == pytest.approx(seconds.high * plan.steps.total)
