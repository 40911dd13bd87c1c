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


class Kept(dict):
    """diffusers 0.42.1 empties the checkpoint, then asks it which model it is: every Predict1 passes for a Predict2."""

    def pop(self, key):
        return self[key]


@pytest.mark.parametrize(("dry", "config"), [(cosmos_predict1, PREDICT1), (cosmos_predict2, PREDICT2)])
def test_the_librarys_own_converter_agrees(dry, config: dict[str, object]) -> None:
    from diffusers.loaders.single_file_utils import convert_cosmos_transformer_checkpoint_to_diffusers

    with torch.device("meta"):
        network = diffusers.CosmosTransformer3DModel(out_channels=16, num_layers=12, **config)
    ours = [name for name, _ in network.named_parameters()]
    checkpoint = Kept({dry.to_original(name): torch.tensor(number) for number, name in enumerate(ours)})
    converted = convert_cosmos_transformer_checkpoint_to_diffusers(checkpoint)
    assert {name: int(value) for name, value in converted.items()} == {name: k for k, name in enumerate(ours)}


def test_names_of_an_adapter_translate_too() -> None:
    original = "net.blocks.3.self_attn.q_proj.lora_A.weight"
    assert cosmos_predict2.to_library(original) == "transformer_blocks.3.attn1.to_q.lora_A.weight"
    assert cosmos_predict2.to_original("transformer_blocks.3.attn1.to_q.lora_A.weight") == original


def test_upstream_selects_the_generators_tower_by_its_own_keys() -> None:
    with torch.device("meta"):
        names = [name for name, _ in diffusers.Cosmos3OmniTransformer(num_hidden_layers=12).named_parameters()]
    keys = ("moe_gen", "time_embedder", "vae2llm", "llm2vae")
    chosen = [name for name in names if any(key in cosmos3_vision.to_original(name) for key in keys)]
    assert "layers.3.self_attn.add_q_proj.weight" in chosen and "proj_in.bias" in chosen
    assert "layers.3.self_attn.to_q.weight" not in chosen and "embed_tokens.weight" not in chosen
    # A layer: 4 projections, 2 norms, 3 of the MLP, 2 layer norms. Then norm_moe_gen, 2 x 2 of the ends, 2 x 2 of time.
    assert len(chosen) == 12 * 11 + 1 + 4 + 4
