"""Activations as counted, held against what torch's tracker sees of the engine's own loss on a small network."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from eight_billion import CONFIG, small
from tao_runtime.data.facts import MediaHeader, VisionGeometry
from tao_runtime.data.vision import SamplingPlan, lay_out_video
from tao_runtime.plan.memory.activations import Load, activations, decoder_layer_bytes
from tao_runtime.plan.memory.learning import Learning
from tao_runtime.plan.memory.network import VisionLanguageNetwork, vision_language_network
from tao_runtime.plan.memory.sizes import measure
from tao_runtime.plan.model import ModelPlan, PrecisionPlan, Recompute


def everything(network: VisionLanguageNetwork) -> Learning:
    return measure(network, ModelPlan(path="m", max_length=1)).learning


def tracked(folder: Path, config: dict[str, Any], load: Load, mode: Recompute, frames: int) -> tuple[int, int]:
    """Return bytes of activations after a loss, and the most of them and of temporaries while it and backward ran."""
    import torch
    from torch.distributed._tools.mem_tracker import MemTracker

    from tao_runtime.engine.build import wrap_blocks
    from tao_runtime.engine.chat_batch import collate
    from tao_runtime.engine.families import wet_family
    from tao_runtime.engine.samples import Item

    torch.set_num_threads(1)
    (folder / "config.json").write_text(json.dumps(config))
    family = wet_family("cosmos_reason")
    model = family.build(folder, packed=True).to(torch.bfloat16)
    precision = PrecisionPlan(master="bfloat16", compute="bfloat16", reduce="bfloat16", activation_checkpointing=mode)
    wrap_blocks(model, family, SimpleNamespace(precision=precision, recompute=None))
    ids, visual, media = torch.full((load.tokens,), 9), torch.zeros(load.tokens, dtype=torch.bool), ((), ())
    if frames:
        header = MediaHeader(Path("a"), "video", 320, 320, frames, 2.0, "h264", 1)
        sampling = SamplingPlan(num_frames=frames, total_pixels=frames * 320 * 320, min_pixels=1024)
        layout = lay_out_video(header, sampling, VisionGeometry())
        assert layout.num_tokens == load.visual
        visual[torch.arange(load.visual) + torch.arange(load.visual) // layout.tokens_per_step + 1] = True
        media = ((torch.zeros(frames, 3, 320, 320, dtype=torch.uint8),), (layout,))
    supervised = torch.arange(load.tokens) >= load.tokens - load.supervised
    batch = collate([Item(0, ids, supervised, visual, *media)], VisionGeometry())
    tracker = MemTracker()
    tracker.track_external(model)
    with tracker:
        loss = family.loss(model, batch)
        [kinds] = tracker.get_tracker_snapshot("current").values()
        loss.backward()
    [peak] = tracker.get_tracker_snapshot("peak").values()
    kept = {str(key).split(".")[-1]: value for key, value in kinds.items()}
    most = {str(key).split(".")[-1]: value for key, value in peak.items()}
    return kept["ACT"], most["ACT"] + most["TEMP"]


@pytest.mark.parametrize("mode", ["none", "selective", "full"])
@pytest.mark.parametrize(("load", "frames"), [(Load(1500, 0, 20), 0), (Load(500, 400, 20), 8), (Load(600, 0, 500), 0)])
def test_the_engine_keeps_as_much(tmp_path: Path, mode: Recompute, load: Load, frames: int) -> None:
    pytest.importorskip("torch")
    network = vision_language_network(small())
    assert network is not None
    _, expected, high = activations(network, load, mode=mode, compute=2, cp=1, learning=everything(network))
    kept, peak = tracked(tmp_path, small(), load, mode, frames)
    # The patches as bytes lie in the batch, which the tracker does not see; of a chunk, its log-softmax is kept.
    batch, logits = load.visual * network.merge * network.patch_values, 4 * load.supervised * network.vocabulary
    print(kept, expected.kept + logits - batch)
    assert expected.kept + logits - batch == pytest.approx(kept, rel=0.1)
    assert peak < high.peak * 1.15


def test_a_worked_number() -> None:
    network = vision_language_network(CONFIG)
    assert network is not None
    layer = everything(network).of("model.language_model.layers.*.")
    assert decoder_layer_bytes(network.language, "none", 2, layer) == 223_232
