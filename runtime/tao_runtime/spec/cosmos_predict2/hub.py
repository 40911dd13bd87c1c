"""What Predict2 needs of the hub: networks, the text encoder, the guide's data, and what its safety checker fetches."""

from __future__ import annotations

from typing import Final

from tao_runtime.spec.hub_asset import PIPELINE, HubAsset
from tao_runtime.spec.structured.world_hub import NEMO_ASSETS, T5, safety

HUB: Final = (
    HubAsset("model", "nvidia/Cosmos-Predict2-2B-Video2World", files=PIPELINE, place="Cosmos-Predict2-2B-Video2World"),
    HubAsset(
        "model", "nvidia/Cosmos-Predict2-14B-Video2World", files=PIPELINE, place="Cosmos-Predict2-14B-Video2World"
    ),
    T5,
    NEMO_ASSETS,
    *safety("Qwen/Qwen3Guard-Gen-0.6B"),
)
