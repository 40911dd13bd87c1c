"""What adapters and frozen weights keep, held against every tensor that is alive in the engine's own loss."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from accelerate import init_empty_weights

from eight_billion import small
from tao_runtime.data.facts import MediaHeader, VisionGeometry
from tao_runtime.data.vision import SamplingPlan, lay_out_video
from tao_runtime.engine import adapter
from tao_runtime.engine.build import choose_trainable, wrap_blocks
from tao_runtime.engine.chat_batch import collate
from tao_runtime.engine.families import wet_family
from tao_runtime.engine.samples import Item
from tao_runtime.engine.trace.storages import StorageTracker
from tao_runtime.engine.trace.weightless import Weightless
from tao_runtime.plan.memory.activations import Activations, Load, activations
from tao_runtime.plan.memory.learning import MASK
from tao_runtime.plan.memory.network import vision_language_network
from tao_runtime.plan.memory.sizes import measure
from tao_runtime.plan.model import LoraPlan, ModelPlan, PrecisionPlan, Recompute

LOAD, FRAMES = Load(500, 400, 20), 8
MODES: tuple[Recompute, ...] = ("none", "selective", "full")


def lora(*targets: str, dropout: float = 0.0) -> LoraPlan:
    return LoraPlan(r=8, alpha=8, dropout=dropout, target_modules=targets, modules_to_save=(), use_rslora=False,
                    init=True, rank_pattern={}, alpha_pattern={})  # fmt: skip


def patterns(name: str) -> ModelPlan:
    """A plan that trains one part of the network."""
    parts = {
        "q and v": {"lora": lora("q_proj", "v_proj")},
        "every linear": {"lora": lora("all-linear")},
        "every linear, dropped": {"lora": lora("all-linear", dropout=0.1)},
        "mergers": {"trainable_pattern": ("merger",)},
        "language": {"freeze_pattern": ("visual",)},
        "head": {"trainable_pattern": ("^lm_head",)},
    }
    return ModelPlan.model_validate({"path": "m", "max_length": 1, **parts[name]})


def batch(family: Any) -> dict[str, Any]:
    header = MediaHeader(Path("a"), "video", 320, 320, FRAMES, 2.0, "h264", 1)
    layout = lay_out_video(
        header, SamplingPlan(num_frames=FRAMES, total_pixels=FRAMES * 320 * 320, min_pixels=1024), VisionGeometry()
    )
    assert layout.num_tokens == LOAD.visual
    visual = torch.zeros(LOAD.tokens, dtype=torch.bool)
    visual[torch.arange(LOAD.visual) + torch.arange(LOAD.visual) // layout.tokens_per_step + 1] = True
    supervised = torch.arange(LOAD.tokens) >= LOAD.tokens - LOAD.supervised
    frames = torch.zeros(FRAMES, 3, 320, 320, dtype=torch.uint8)
    item = Item(0, torch.full((LOAD.tokens,), 9), supervised, visual, (frames,), (layout,))
    made: dict[str, Any] = collate([item], VisionGeometry())
    return made


def counted(folder: Path, plan: ModelPlan, mode: Recompute) -> tuple[int, int]:
    """Return bytes of all but parameters and gradients: after a loss, and the most while it and backward ran."""
    (folder / "config.json").write_text(json.dumps(small()))
    family = wet_family("cosmos_reason")
    with init_empty_weights(include_buffers=False):
        model = family.build(folder, packed=True)
        if plan.lora is not None:
            adapter.inject(model, plan.lora)
    choose_trainable(model, plan)
    precision = PrecisionPlan(master="bfloat16", compute="bfloat16", reduce="bfloat16", activation_checkpointing=mode)
    collated = batch(family)
    with Weightless() as weightless:
        for module in model.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    made = torch.nn.Parameter(torch.empty(value.shape, dtype=torch.bfloat16), value.requires_grad)
                    module._parameters[name] = made
                    if value.requires_grad:
                        made.register_post_accumulate_grad_hook(lambda each: setattr(each, "grad", None))
        wrap_blocks(model, family, SimpleNamespace(precision=precision, recompute=None))  # type: ignore[arg-type]
        given = weightless.lightened(collated)
        with StorageTracker() as tracker:
            tracker.watch([list(model.train().parameters()), list(model.buffers()), list(given.values())])
            before = tracker.current
            loss = family.loss(model, given)
            kept = tracker.current - before
            loss.backward()
        return kept, tracker.peak - before


def estimated(plan: ModelPlan, mode: Recompute) -> Activations:
    network = vision_language_network(small())
    assert network is not None
    found = activations(network, LOAD, mode=mode, compute=2, cp=1, learning=measure(network, plan).learning)
    return found[1]


CASES = [
    *(("every linear, dropped", mode) for mode in MODES),
    *(("q and v", mode) for mode in MODES),
    *(("every linear", "none"), ("mergers", "none"), ("language", "none"), ("head", "full")),
]


def case(name: str, mode: str) -> object:
    """Recomputation in full, which most runs use, is tried by every run of the tests; the rest by the long ones."""
    return pytest.param(name, mode, marks=() if mode == "full" else pytest.mark.slow)


@pytest.mark.parametrize(("name", "mode"), [case(*each) for each in CASES])
def test_the_engine_keeps_as_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, mode: Recompute) -> None:
    # A CPU keeps what was dropped as numbers of the computing type, not as bytes.
    monkeypatch.setattr("tao_runtime.plan.memory.learning.MASK", 2 * MASK)
    kept, peak = counted(tmp_path, patterns(name), mode)
    found = estimated(patterns(name), mode)
    network = vision_language_network(small())
    assert network is not None
    # The patches as bytes lie in the batch; of a chunk, its log-softmax is kept.
    there = 4 * LOAD.supervised * network.vocabulary - LOAD.visual * network.merge * network.patch_values
    print(name, mode, (found.kept + there) / kept, (found.peak + there) / peak, kept)
    assert found.kept + there == pytest.approx(kept, rel=0.1)
    if "every" in name:  # where little is kept, so small a network holds most while its tower looks
        assert found.peak + there == pytest.approx(peak, rel=0.15)
