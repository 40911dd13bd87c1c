"""The dry name maps against the library's own networks, on meta: exact, unique, and back again."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from tao_runtime.data import cosmos3_vision


@pytest.mark.parametrize(("size", "shape"), [("nano", {}), ("super", {"num_hidden_layers": 64, "hidden_size": 5120,
                          "intermediate_size": 25600, "num_attention_heads": 64})])  # fmt: skip
def test_names_of_the_omni_transformer(size: str, shape: dict[str, int]) -> None:
    with torch.device("meta"):
        network = diffusers.Cosmos3OmniTransformer(**shape)
    library = [name for name, _ in network.named_parameters()]
    originals = [cosmos3_vision.to_original(name) for name in library]
    assert sorted(originals) == sorted(cosmos3_vision.original_names(size)) and len(set(originals)) == len(library)
    assert [cosmos3_vision.to_library(name) for name in originals] == library
