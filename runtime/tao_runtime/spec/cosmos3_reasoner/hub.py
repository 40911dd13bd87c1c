"""What the reasoner needs of the hub. Commits are those that upstream pins (inference/common/checkpoints.py)."""

from __future__ import annotations

from typing import Final

from tao_runtime.spec.hub_asset import HubAsset

_MERGE: Final = "merge its language model onto the backbone's vision tower first, or leave the key empty"

HUB: Final = (
    HubAsset("model", "Qwen/Qwen3-VL-8B-Instruct", revision="0c351dd01ed87e9c1b53cbc748cba10e6187ff3b"),
    HubAsset("model", "Qwen/Qwen3-VL-2B-Instruct", revision="89644892e4d85e24eaac8bacfd4f463576704203"),
    HubAsset("model", "Qwen/Qwen3-VL-32B-Instruct", revision="0cfaf48183f594c314753d30a4c4974bc75f3ccb"),
    HubAsset("model", "nvidia/Cosmos3-Nano", place="Cosmos3-Nano-VLM", note=_MERGE),
    HubAsset(
        "data",
        "videophysics/videophy2_train",
        kind="dataset",
        files=("*.csv",),
        place="videophy2_train",
        note="a table of addresses: tao-run prepare videophy2 fetches the clips and writes the folder",
    ),
    HubAsset(
        "data",
        "videophysics/videophy2_test",
        kind="dataset",
        files=("*.csv",),
        place="videophy2_val",
        note="a table of addresses: tao-run prepare videophy2 fetches the clips and writes the folder",
    ),
    HubAsset(
        "data",
        "lmms-lab/LLaVA-OneVision-Data",
        kind="dataset",
        files=("*.parquet",),
        place="LLaVA-OneVision-Data",
        fetched=False,
        note="tao-run prepare llava_ov takes as many rows of it as are wanted",
    ),
)
