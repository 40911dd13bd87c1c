"""Parameters from a configuration equal those of the library on the meta device, by name and shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eight_billion import CONFIG
from tao_runtime.plan.memory.network import vision_language_network
from tao_runtime.plan.memory.trainable import total, trainable_shapes
from tao_runtime.plan.model import LoraPlan, ModelPlan


def lora(**fields: Any) -> LoraPlan:
    plain = {"r": 4, "alpha": 8, "dropout": 0, "target_modules": ("q_proj", "v_proj"), "modules_to_save": ()}
    rest = {"use_rslora": False, "init": True, "rank_pattern": {}, "alpha_pattern": {}}
    return LoraPlan(**{**plain, **rest, **fields})


def model_plan(**fields: Any) -> ModelPlan:
    return ModelPlan(path="model", max_length=1000, **fields)


def test_parts_of_the_eight_billion() -> None:
    network = vision_language_network(CONFIG)
    assert network is not None
    assert network.count() == 8_767_123_696
    assert network.count("model.visual.") == 576_388_336
    assert network.count("model.language_model.") == 7_568_405_504
    assert network.count("lm_head.") == 622_329_856


@pytest.mark.parametrize("change", [{}, {"tie_word_embeddings": True}])
def test_the_eight_billion_is_the_library_s(change: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = json.loads(json.dumps(CONFIG)) | change
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**config))
    network = vision_language_network(config)
    assert network is not None
    assert dict(network.shapes) == {name: tuple(value.shape) for name, value in model.named_parameters()}


def test_the_tiny_one_is_the_library_s(demo_material: Path) -> None:
    from tao_runtime.engine.families import wet_family

    network = vision_language_network(json.loads((demo_material / "model/config.json").read_text()))
    model = wet_family("cosmos_reason").build(demo_material / "model", packed=True)
    assert network is not None
    assert dict(network.shapes) == {name: tuple(value.shape) for name, value in model.named_parameters()}


@pytest.mark.parametrize(
    "plan",
    [
        model_plan(),
        model_plan(freeze_pattern=("visual",)),
        model_plan(trainable_pattern=("merger", r"layers\.1\.")),
        model_plan(trainable_map={"model.visual": False, "model.visual.merger": True}),
        model_plan(lora=lora()),
        model_plan(lora=lora(target_modules=("all-linear",))),
        model_plan(lora=lora(target_modules=("q_proj", "attn.qkv"), rank_pattern={"q_proj": 2})),
        model_plan(lora=lora(modules_to_save=("visual",))),
        model_plan(lora=lora(), trainable_map={"model.language_model.norm": True}),
    ],
)
def test_what_is_trained_is_what_the_engine_trains(demo_material: Path, plan: ModelPlan) -> None:
    from tao_runtime.engine import adapter
    from tao_runtime.engine.build import choose_trainable
    from tao_runtime.engine.families import wet_family
    from tao_runtime.engine.optimizer import trainable

    config = json.loads((demo_material / "model/config.json").read_text())
    model = wet_family("cosmos_reason").build(demo_material / "model", packed=True)
    if plan.lora is not None:
        adapter.inject(model, plan.lora)
    choose_trainable(model, plan)
    theirs = {name.replace(".default.", "."): tuple(value.shape) for name, value in trainable(model).items()}
    network = vision_language_network(config)
    assert network is not None
    ours = trainable_shapes(network, plan)
    assert ours == theirs
    assert total(ours) == sum(value.numel() for value in trainable(model).values())


def test_a_configuration_that_says_too_little_gives_nothing() -> None:
    assert vision_language_network({}) is None
    assert vision_language_network({"text_config": CONFIG["text_config"]}) is None
    assert vision_language_network({**CONFIG, "vision_config": {**CONFIG["vision_config"], "depth": "27"}}) is None


def test_all_linear_leaves_a_head_of_its_own_out_as_peft_does(demo_material: Path, tmp_path: Path) -> None:
    from tao_runtime.engine import adapter
    from tao_runtime.engine.families import wet_family

    config = json.loads((demo_material / "model/config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = False
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, network = wet_family("cosmos_reason").build(tmp_path, packed=True), vision_language_network(config)
    plan = lora(target_modules=("all-linear",))
    added = {name.replace(".default.", ".") for name in adapter.inject(model, plan)}
    assert network is not None and "lm_head.weight" in network.shapes
    assert set(trainable_shapes(network, model_plan(lora=plan))) == added
