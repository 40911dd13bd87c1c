"""What the families that read captions with T5 share of the hub: the encoder, the guides' clips, the safety checker."""

from __future__ import annotations

from typing import Final

from tao_runtime.spec.hub_asset import HubAsset

T5: Final = HubAsset("text_encoder", "google-t5/t5-11b")
NEMO_ASSETS: Final = HubAsset(
    "data",
    "nvidia/Cosmos-NeMo-Assets",
    kind="dataset",
    files=("*.mp4",),
    place="cosmos_nemo_assets",
    note="rename its folder nemo_diffusion_example_data to videos, then tao-run prepare t5 --prompt gives the captions",
)


def safety(text_filter: str) -> tuple[HubAsset, ...]:
    """Return what cosmos_guardrail 0.3.2, which diffusers constructs, fetches: its filters, and what those fetch."""
    asked = ("inference",)
    filters = ("blocklist/*", "video_content_safety_filter/*", "face_blur_filter/Resnet50_Final.pth")
    return (
        HubAsset("safety checker", "nvidia/Cosmos-1.0-Guardrail", files=filters, actions=asked),
        HubAsset("safety checker, text", text_filter, actions=asked),
        HubAsset("safety checker, pictures", "google/siglip-so400m-patch14-384", actions=asked),
    )
