"""The dry name maps against the library's own networks, on meta: exact, unique, and back again."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from tao_runtime.data import cosmos3_vision, cosmos_predict1, cosmos_predict2


@pytest.mark.parametrize(("size", "shape"), [("nano", {}), ("super", {"num_hidden_layers": 64, "hidden_size": 5120,
                          "intermediate_size": 25600, "num_attention_heads": 64})])  # fmt: skip
def test_names_of_the_omni_transformer(size: str, shape: dict[str, int]) -> None:
    with torch.device("meta"):
        network = diffusers.Cosmos3OmniTransformer(**shape)
    library = [name for name, _ in network.named_parameters()]
    originals = [cosmos3_vision.to_original(name) for name in library]
    assert sorted(originals) == sorted(cosmos3_vision.original_names(size)) and len(set(originals)) == len(library)
    assert [cosmos3_vision.to_library(name) for name in originals] == library


PREDICT1 = {"in_channels": 16, "rope_scale": (2.0, 1.0, 1.0), "extra_pos_embed_type": "learnable"}
PREDICT2 = {"in_channels": 17, "rope_scale": (1.0, 3.0, 3.0), "extra_pos_embed_type": None}


@pytest.mark.parametrize(
    ("dry", "size", "config"),
    [
        (cosmos_predict1, "7B", {**PREDICT1, "num_attention_heads": 32, "num_layers": 28}),
        (cosmos_predict1, "14B", {**PREDICT1, "num_attention_heads": 40, "num_layers": 36}),
        (cosmos_predict2, "2B", {**PREDICT2, "num_attention_heads": 16, "num_layers": 28}),
        (cosmos_predict2, "14B", {**PREDICT2, "num_attention_heads": 40, "num_layers": 36}),
    ],
)
def test_names_of_the_predict_transformers(dry, size: str, config: dict[str, object]) -> None:
    with torch.device("meta"):
        network = diffusers.CosmosTransformer3DModel(out_channels=16, attention_head_dim=128, **config)
    library = [name for name, _ in network.named_parameters()]
    originals = [dry.to_original(name) for name in library]
    assert sorted(originals) == sorted(dry.original_names(size)) and len(set(originals)) == len(library)
    assert [dry.to_library(name) for name in originals] == library
    assert dry.HEADS[size] == config["num_attention_heads"]
