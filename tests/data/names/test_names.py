"""Names of the original code and of diffusers map onto each other exactly, and agree with diffusers' own converter."""

from __future__ import annotations

import pytest

from tao_runtime.data.names import cosmos3_vision, cosmos_predict1, cosmos_predict2

FAMILIES = {"predict1": cosmos_predict1, "predict2": cosmos_predict2, "cosmos3": cosmos3_vision}


def network_names(family: str) -> list[list[str]]:
    """The parameters of every layout a family has."""
    pytest.importorskip("torch")
    from tao_runtime.engine.demo import cosmos3_vision as c3
    from tao_runtime.engine.demo import cosmos_predict1 as p1
    from tao_runtime.engine.demo import cosmos_predict2 as p2

    if family == "cosmos3":
        edge = {"hidden_act": "relu2", "qk_norm_for_text": False, "use_und_k_norm_for_gen": True}
        made = [c3.tiny_network(num_hidden_layers=12, **changes) for changes in ({}, edge)]
    else:
        made = [{"predict1": p1, "predict2": p2}[family].tiny_network(num_layers=12)]
    return [[name for name, _ in network.named_parameters()] for network in made]


@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip_is_exact_and_unique(family: str) -> None:
    names = FAMILIES[family].NAMES
    for ours in network_names(family):
        originals = [names.to_original(name) for name in ours]
        assert len(set(originals)) == len(ours)
        assert [names.to_diffusers(name) for name in originals] == ours


class Kept(dict):
    """diffusers 0.42.1 empties the checkpoint, then asks it which model it is: every Predict1 passes for a Predict2."""

    def pop(self, key):
        return self[key]


@pytest.mark.parametrize("family", ["predict1", "predict2"])
def test_diffusers_own_converter_agrees(family: str) -> None:
    torch = pytest.importorskip("torch")
    from diffusers.loaders.single_file_utils import convert_cosmos_transformer_checkpoint_to_diffusers

    names, [ours] = FAMILIES[family].NAMES, network_names(family)
    checkpoint = Kept({names.to_original(name): torch.tensor(number) for number, name in enumerate(ours)})
    converted = convert_cosmos_transformer_checkpoint_to_diffusers(checkpoint)
    assert {name: int(value) for name, value in converted.items()} == {name: k for k, name in enumerate(ours)}


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("predict1", "net.logvar.0.freqs"),
        ("predict1", "net.pos_embedder.seq"),
        ("predict2", "net.accum_iteration"),
        ("predict2", "net.blocks.0.self_attn.q_norm._extra_state"),
        ("cosmos3", "net.language_model.model.rotary_emb.inv_freq"),
    ],
)
def test_what_the_network_has_not_is_none(family: str, name: str) -> None:
    assert FAMILIES[family].NAMES.to_diffusers(name) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_name_is_an_error(family: str) -> None:
    with pytest.raises(KeyError):
        FAMILIES[family].NAMES.to_diffusers("net.blocks.0.surprise.weight")
    with pytest.raises(KeyError):
        FAMILIES[family].NAMES.to_original("surprise.weight")


def test_ema_and_export_prefixes_are_read() -> None:
    names = cosmos3_vision.NAMES
    for prefix in ("net.", "net_ema.", "model.net."):
        assert names.to_diffusers(f"{prefix}vae2llm.bias") == "proj_in.bias"


def test_upstream_selects_the_generation_tower_by_its_own_keys() -> None:
    [ours, edge] = network_names("cosmos3")
    keys = ["moe_gen", "time_embedder", "vae2llm", "llm2vae"]
    selected = cosmos3_vision.NAMES.select(ours, keys)
    assert "layers.3.self_attn.add_q_proj.weight" in selected
    assert "proj_in.bias" in selected
    assert "layers.3.self_attn.to_q.weight" not in selected
    assert "embed_tokens.weight" not in selected
    # A layer: 4 projections, 2 norms, 3 of the MLP, 2 layer norms. Then norm_moe_gen, 2 x 2 of the ends, 2 x 2 of time.
    assert len(selected) == 12 * 11 + 1 + 4 + 4
    assert len(cosmos3_vision.NAMES.select(edge, [*keys, "k_norm_und_for_gen"])) == 12 * 11 + 1 + 4 + 4


@pytest.mark.parametrize(
    ("family", "module", "want"),
    [
        ("cosmos3", "q_proj_moe_gen", ["self_attn.add_q_proj"]),
        ("cosmos3", "o_proj_moe_gen", ["self_attn.to_add_out"]),
        ("predict2", "q_proj", ["attn1.to_q", "attn2.to_q"]),
        ("predict2", "output_proj", ["attn1.to_out.0", "attn2.to_out.0"]),
        ("predict2", "mlp.layer1", ["ff.net.0.proj"]),
        ("predict1", "to_q.0", ["attn1.to_q", "attn2.to_q"]),
        ("predict2", "surprise", []),
    ],
)
def test_lora_targets(family: str, module: str, want: list[str]) -> None:
    assert FAMILIES[family].NAMES.targets(module) == want


def test_names_of_an_adapter_translate_too() -> None:
    original = "net.blocks.3.self_attn.q_proj.lora_A.weight"
    assert cosmos_predict2.NAMES.to_diffusers(original) == "transformer_blocks.3.attn1.to_q.lora_A.weight"
