"""Parameters of the generators from a configuration equal those of the library, by name and shape, and as trained."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from tao_runtime.data import cosmos3_vision, cosmos_predict1, cosmos_predict2
from tao_runtime.plan.memory.network import Network
from tao_runtime.plan.memory.text_video import text_video_network
from tao_runtime.plan.memory.tokenizer import CV8, WAN21, WAN22
from tao_runtime.plan.memory.trainable import Choice, trainable_shapes
from tao_runtime.plan.memory.two_towers import two_tower_network
from tao_runtime.plan.model import LoraPlan, ModelPlan

DIT, OMNI = "CosmosTransformer3DModel", "Cosmos3OmniTransformer"
KINDS = {DIT: text_video_network, OMNI: two_tower_network}
PUBLISHED = [
    (cosmos_predict1, "7B", DIT, 7_236_192_256),
    (cosmos_predict1, "14B", DIT, 14_267_149_312),
    (cosmos_predict2, "2B", DIT, 1_956_413_440),
    (cosmos_predict2, "14B", DIT, 14_265_285_632),
    (cosmos3_vision, "nano", OMNI, 15_156_222_144),
    (cosmos3_vision, "super", OMNI, 63_997_928_640),
]
TINY = [("cosmos_predict1", DIT), ("cosmos_predict2", DIT), ("cosmos3_vision", OMNI)]


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.named_parameters()}


def known(kind: str, config: Any) -> Network:
    found = KINDS[kind](config)
    assert found is not None
    return found


@pytest.mark.parametrize(("dry", "size", "kind", "count"), PUBLISHED)
def test_a_published_network_is_the_library_s(dry: Any, size: str, kind: str, count: int) -> None:
    config = dry.NETWORKS[size]
    with torch.device("meta"):
        model = getattr(diffusers, kind)(**config)
    network = known(kind, config)
    assert dict(network.shapes) == shapes_of(model)
    assert network.count() == count
    # What the library writes down gives the same network.
    assert known(kind, json.loads(model.to_json_string())) == network


@pytest.mark.parametrize(("family", "kind"), TINY)
def test_a_tiny_network_is_the_library_s(family: str, kind: str) -> None:
    model = importlib.import_module(f"tao_runtime.engine.demo.{family}").tiny_network()
    assert dict(known(kind, json.loads(model.to_json_string())).shapes) == shapes_of(model)


def lora(*targets: str) -> LoraPlan:
    return LoraPlan(r=4, alpha=4, dropout=0, target_modules=targets, modules_to_save=(), use_rslora=False, init=True,
                    rank_pattern={}, alpha_pattern={})  # fmt: skip


@pytest.mark.parametrize(
    ("family", "kind", "targets", "keys"),
    [
        ("cosmos_predict1", DIT, "", ()),
        ("cosmos_predict1", DIT, "FA.to_q,FA.to_v,CA.to_q,CA.to_v", ()),
        ("cosmos_predict2", DIT, "q_proj,k_proj,v_proj,output_proj,mlp.layer1,mlp.layer2", ()),
        ("cosmos_predict2", DIT, "", ("self_attn", "x_embedder")),
        ("cosmos3_vision", OMNI, "", ("moe_gen", "time_embedder", "vae2llm", "llm2vae")),
        ("cosmos3_vision", OMNI, "q_proj_moe_gen,k_proj_moe_gen,v_proj_moe_gen,o_proj_moe_gen", ("lora_",)),
    ],
)
def test_what_is_trained_is_what_the_engine_trains(family: str, kind: str, targets: str, keys: tuple[str, ...]) -> None:
    from tao_runtime.engine import adapter
    from tao_runtime.engine.build import select
    from tao_runtime.engine.families import wet_family
    from tao_runtime.engine.optimizer import trainable

    model = importlib.import_module(f"tao_runtime.engine.demo.{family}").tiny_network()
    network = known(kind, json.loads(model.to_json_string()))
    wet = wet_family(family)
    dry = importlib.import_module(f"tao_runtime.data.{family}")
    added = lora(*dry.library_targets(targets)) if targets else None
    if added is not None:
        adapter.inject(model, added)
    select(model, wet, keys)
    theirs = {name.replace(".default.", "."): tuple(value.shape) for name, value in trainable(model).items()}
    plan = ModelPlan(path="m", max_length=1, lora=added)
    assert trainable_shapes(network, plan, Choice(keys, dry.to_original)) == theirs
    assert theirs


def test_training_adds_to_the_network_what_the_planner_says(tmp_path: Any) -> None:
    from accelerate import init_empty_weights

    from tao_runtime.engine.families import wet_family
    from tao_runtime.plan.cosmos_predict1 import COST, HEAD, original_name

    config = {**cosmos_predict1.NETWORKS["7B"], "num_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps({**config, "_class_name": DIT}))
    wet = wet_family("cosmos_predict1")
    with init_empty_weights(include_buffers=False):
        model = wet.build(tmp_path, packed=True)
    network = known(DIT, config)
    assert dict(replace(network, shapes={**network.shapes, **COST.added}).shapes) == shapes_of(model)
    assert wet.original_name(HEAD) == original_name(HEAD)


@pytest.mark.parametrize(
    ("kind", "config", "want"),
    [
        ("AutoencoderKLWan", {}, WAN21),
        (
            "AutoencoderKLWan",
            {"base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "is_residual": True, "in_channels": 12,
             "out_channels": 12, "patch_size": 2, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48},
            WAN22,
        ),
        ("AutoencoderKLCosmos", {}, CV8),
    ],
)  # fmt: skip
def test_a_tokenizer_takes_what_was_counted(kind: str, config: dict[str, Any], want: Any) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    from tao_runtime.engine.trace.storages import StorageTracker

    frames, height, width = 17, 128, 192
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = getattr(diffusers, kind)(**config).eval().requires_grad_(False)
        clip = torch.zeros(1, 3, frames, height, width)
        with StorageTracker() as tracker, torch.no_grad():
            tracker.watch(clip)
            model.encode(clip).latent_dist.mode()
    assert sum(value.numel() for value in model.parameters()) == want.parameters
    memory = want.memory(frames, height, width)
    assert memory.expected - memory.low == pytest.approx(tracker.peak, rel=0.12)


@pytest.mark.parametrize("change", [{"num_layers": None}, {"img_context_dim_in": 8}, {"patch_size": 2}])
def test_a_configuration_that_says_too_little_or_more_than_is_known_gives_nothing(change: dict[str, Any]) -> None:
    assert text_video_network({**cosmos_predict1.NETWORKS["7B"], **change}) is None
    assert two_tower_network({**cosmos3_vision.NETWORKS["nano"], "action_gen": True}) is None
    assert two_tower_network({}) is None
