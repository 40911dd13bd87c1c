"""What Predict1 needs of the hub: networks, the text encoder, the guide's data, and what its safety checker fetches."""

from __future__ import annotations

from typing import Final

from tao_runtime.spec.hub_asset import PIPELINE, HubAsset
from tao_runtime.spec.structured.world_hub import NEMO_ASSETS, T5, safety

HUB: Final = (
    HubAsset("model", "nvidia/Cosmos-Predict1-7B-Text2World", files=PIPELINE, place="Cosmos-Predict1-7B-Text2World"),
    HubAsset("model", "nvidia/Cosmos-Predict1-14B-Text2World", files=PIPELINE, place="Cosmos-Predict1-14B-Text2World"),
    # The same weights in the layout that the engine starts from; the library's own example names it.
    HubAsset("model", "nvidia/Cosmos-1.0-Diffusion-7B-Text2World", files=PIPELINE),
    HubAsset(
        "tokenizer",
        "nvidia/Cosmos-Tokenize1-CV8x8x8-720p",
        files=("*.json", "*.jit", "*.pt"),
        place="Cosmos-Tokenize1-CV8x8x8-720p",
    ),
    T5,
    NEMO_ASSETS,
    *safety("Qwen/Qwen3Guard-Gen-0.6B"),
)
