"""What the vision family needs of the hub. Commits are those that upstream pins (inference/common/checkpoints.py)."""

from __future__ import annotations

from typing import Final

from tao_runtime.spec.hub_asset import HubAsset
from tao_runtime.spec.structured.world_hub import safety

# A pipeline folder, and its tokenizer: upstream's loader names these parts of the published repositories.
_OMNI: Final = (
    "model_index.json",
    "transformer/*",
    "vae/*",
    "scheduler/*",
    "*tokenizer/*",
    "*.json",
    "*.txt",
    "*.jinja",
)

HUB: Final = (
    HubAsset("model", "nvidia/Cosmos3-Nano", files=_OMNI, place="Cosmos3-Nano"),
    HubAsset("model", "nvidia/Cosmos3-Super", files=_OMNI, place="Cosmos3-Super"),
    HubAsset(
        "tokenizer",
        "Wan-AI/Wan2.2-TI2V-5B",
        revision="921dbaf3f1674a56f47e83fb80a34bac8a8f203e",
        files=("Wan2.2_VAE.pth",),
        place="Wan2.2_VAE.pth",
        folder="Wan2.2_VAE.pth",
    ),
    HubAsset(
        "data",
        "nvidia/BridgeData2-Subset-Synthetic-Captions",
        kind="dataset",
        revision="40d018ac1c1a2a4b9734f17fdb21f3d933c49a01",
        files=("sft_dataset_bridge/*",),
        place="BridgeData2-Subset-Synthetic-Captions",
        folder="sft_dataset_bridge",
    ),
    *safety("Qwen/Qwen3Guard-Gen-0.6B"),
)
