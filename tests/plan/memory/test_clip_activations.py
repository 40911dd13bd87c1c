"""Activations of the generators as counted, held against every tensor that is alive in the engine's own loss."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from accelerate import init_empty_weights

from tao_runtime.data import cosmos3_vision, cosmos_predict1, cosmos_predict2
from tao_runtime.engine import adapter
from tao_runtime.engine.build import select, wrap_blocks
from tao_runtime.engine.clip_source import ClipItem
from tao_runtime.engine.families import wet_family
from tao_runtime.engine.objectives import edm, flow_matching, rectified_flow
from tao_runtime.engine.objectives.draw import Draw
from tao_runtime.engine.trace.storages import StorageTracker
from tao_runtime.engine.trace.weightless import Weightless
from tao_runtime.plan.memory.activations import Activations
from tao_runtime.plan.memory.sizes import measure
from tao_runtime.plan.memory.text_video import (
    ClipLoad,
    TextVideoNetwork,
    block_bytes,
    clip_activations,
    text_video_network,
)
from tao_runtime.plan.memory.trainable import Choice
from tao_runtime.plan.memory.two_towers import (
    MAKES,
    READS,
    PackLoad,
    TwoTowerNetwork,
    layer_bytes,
    pack_activations,
    two_tower_network,
)
from tao_runtime.plan.model import LoraPlan, ModelPlan, PrecisionPlan, Recompute

SAMPLES = 2
TEXT, SHAPE = 64, (16, 8, 32, 48)  # tokens of a text; channels, frames, height, width of latents
TOKENS = 8 * 16 * 24
SMALL = {"num_attention_heads": 8, "attention_head_dim": 64, "num_layers": 4, "text_embed_dim": 128,
         "adaln_lora_dim": 32, "max_size": [64, 64, 64], "_class_name": "CosmosTransformer3DModel"}  # fmt: skip
CONFIGS = {
    "cosmos_predict1": {**cosmos_predict1.NETWORKS["7B"], **SMALL},
    "cosmos_predict2": {**cosmos_predict2.NETWORKS["2B"], **SMALL},
    "cosmos3_vision": {**cosmos3_vision.NETWORKS["nano"], "_class_name": "Cosmos3OmniTransformer", "head_dim": 64,
                       "hidden_size": 512, "intermediate_size": 1536, "num_attention_heads": 8,
                       "num_key_value_heads": 2, "num_hidden_layers": 4, "vocab_size": 2048,
                       "rope_axes_dim": [12, 10, 10]},
}  # fmt: skip


def clips(family: str, samples: int) -> dict[str, Any]:
    """A micro-batch as the family's collate makes it, of zeros."""
    if family == "cosmos3_vision":
        items = tuple(
            ClipItem(0, torch.zeros(48, *SHAPE[1:]), torch.zeros(TEXT, dtype=torch.long),
                     Draw(0.5, torch.zeros(48, *SHAPE[1:]), 1), 16.0)
            for _ in range(samples)
        )  # fmt: skip
        return {"items": items, "recipe": flow_matching.FlowRecipe(), "dtype": torch.bfloat16,
                "temporal": 4, "turned": False, "weight": samples}  # fmt: skip
    draws = [Draw(1.0, torch.zeros(SHAPE), 1) for _ in range(samples)]
    latents = torch.zeros(samples, *SHAPE)
    if family == "cosmos_predict1":
        from tao_runtime.engine.families.cosmos_predict1 import FIELDS

        recipe: Any = edm.EdmRecipe()
        noised: Any = edm.noise(latents, draws, recipe)
    else:
        from tao_runtime.engine.families.cosmos_predict2 import FIELDS

        recipe = rectified_flow.RectifiedFlowRecipe()
        noised = rectified_flow.noise(latents, draws, recipe)
    text = torch.zeros(samples, TEXT, 128, dtype=torch.bfloat16)
    fields = {name: getattr(noised, name) for name in FIELDS}
    return {**fields, "text_BSD": text, "fps": 16.0, "recipe": recipe, "weight": samples}


EVERYTHING = ModelPlan(path="m", max_length=1)
# As the recipes have them; with dropout, and of every linear layer of a block.
ADAPTERS = {
    "cosmos_predict1": (("attn1.to_q", "attn1.to_v", "attn2.to_q", "attn2.to_v"), 0.0),
    "cosmos_predict2": (("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2"), 0.1),
    "cosmos3_vision": (("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"), 0.0),
}


def adapted(family: str) -> ModelPlan:
    targets, dropout = ADAPTERS[family]
    return EVERYTHING.model_copy(update={"lora": LoraPlan(
        r=8, alpha=8, dropout=dropout, target_modules=targets, modules_to_save=(), use_rslora=False, init=True,
        rank_pattern={}, alpha_pattern={},
    )})  # fmt: skip


def counted(family: str, folder: Path, mode: Recompute, plan: ModelPlan, keys: tuple[str, ...]) -> tuple[int, int]:
    """Return bytes of all but parameters and gradients: after a loss, and the most while it and backward ran."""
    (folder / "config.json").write_text(json.dumps(CONFIGS[family]))
    wet = wet_family(family)
    with init_empty_weights(include_buffers=False):
        model = wet.build(folder, packed=True)
        if plan.lora is not None:
            adapter.inject(model, plan.lora)
    select(model, wet, keys)
    precision = PrecisionPlan(master="bfloat16", compute="bfloat16", reduce="bfloat16", activation_checkpointing=mode)
    with Weightless():
        for module in model.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    made = torch.nn.Parameter(torch.empty(value.shape, dtype=torch.bfloat16), value.requires_grad)
                    module._parameters[name] = made
                    if value.requires_grad:
                        made.register_post_accumulate_grad_hook(lambda each: setattr(each, "grad", None))
        wrap_blocks(model, wet, SimpleNamespace(precision=precision, recompute=None))  # type: ignore[arg-type]
        batch = clips(family, SAMPLES)
        with StorageTracker() as tracker:
            tracker.watch([list(model.train().parameters()), list(model.buffers())])
            weights = tracker.current
            tracker.watch([list(batch.values()), [(each.latents_CTHW, each.draw.noise_CTHW)
                                                  for each in batch.get("items", ())]])  # fmt: skip
            loss = wet.loss(model, batch)
            kept = tracker.current - weights
            loss.backward()
        return kept, tracker.peak - weights


def estimated(family: str, mode: Recompute, plan: ModelPlan, keys: tuple[str, ...]) -> Activations:
    network = known(family)
    learning = measure(network, plan, Choice(keys, wet_family(family).original_name)).learning
    if isinstance(network, TwoTowerNetwork):
        pack = PackLoad(SAMPLES * TOKENS, SAMPLES * TEXT)
        return pack_activations(network, pack, mode=mode, compute=2, cp=1, learning=learning)
    load = ClipLoad(SAMPLES, TOKENS, 16 * 8 * 32 * 48, TEXT, by_frame=family == "cosmos_predict2")
    return clip_activations(network, load, mode=mode, compute=2, cp=1, learning=learning)


def known(family: str) -> TextVideoNetwork | TwoTowerNetwork:
    config = CONFIGS[family]
    found = two_tower_network(config) if family == "cosmos3_vision" else text_video_network(config)
    assert found is not None
    return found


@pytest.mark.parametrize("mode", ["none", "selective", "full"])
@pytest.mark.parametrize("family", CONFIGS)
def test_the_engine_keeps_as_much(tmp_path: Path, family: str, mode: Recompute) -> None:
    kept, peak = counted(family, tmp_path, mode, EVERYTHING, ())
    found = estimated(family, mode, EVERYTHING, ())
    print(family, mode, found.kept / kept, found.peak / peak)
    assert found.kept == pytest.approx(kept, rel=0.08)
    assert found.peak == pytest.approx(peak, rel=0.15)


PARTLY = [
    *((family, mode, ()) for family in CONFIGS for mode in ("none", "selective", "full")),
    ("cosmos3_vision", "none", ("moe_gen",)),
]


@pytest.mark.parametrize(
    ("family", "mode", "keys"),
    [pytest.param(*each, marks=() if each[1] == "full" or each[2] else pytest.mark.slow) for each in PARTLY],
)
def test_adapters_and_chosen_weights_keep_only_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, mode: Recompute, keys: tuple[str, ...]
) -> None:
    # A CPU keeps what was dropped as numbers of the computing type, not as bytes.
    monkeypatch.setattr("tao_runtime.plan.memory.learning.MASK", 2)
    plan = EVERYTHING if keys else adapted(family)
    kept, peak = counted(family, tmp_path, mode, plan, keys)
    found = estimated(family, mode, plan, keys)
    print(family, mode, keys, "partly", found.kept / kept, found.peak / peak, kept)
    assert found.kept == pytest.approx(kept, rel=0.1)
    assert found.peak == pytest.approx(peak, rel=0.15)


def test_worked_numbers() -> None:
    network = text_video_network(cosmos_predict1.NETWORKS["7B"])
    towers = two_tower_network(cosmos3_vision.NETWORKS["nano"])
    assert network is not None and towers is not None
    learning = measure(network, EVERYTHING).learning
    assert block_bytes(network, "none", 2, learning, by_frame=False) == 311_296
    layer = measure(towers, EVERYTHING).learning.of("layers.*.")
    assert layer_bytes(towers.blocks, "none", 2, READS, layer) == 241_664
    assert layer_bytes(towers.blocks, "none", 2, MAKES, layer) == 241_664


def test_text_that_nothing_learns_from_keeps_its_keys_and_values_alone() -> None:
    towers = two_tower_network(cosmos3_vision.NETWORKS["nano"])
    assert towers is not None
    learning = measure(towers, EVERYTHING, Choice(("moe_gen",), wet_family("cosmos3_vision").original_name)).learning
    fewer, more = (
        pack_activations(towers, PackLoad(1000, text), mode="none", compute=2, cp=1, learning=learning).kept
        for text in (100, 101)
    )
    assert more - fewer == 36 * 2 * 2 * 1024 + 4096 * (4 + 2)  # and at the end its float32 norm
