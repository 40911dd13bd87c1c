"""The shipped bases of the vision family, by upstream's experiment names: what upstream keeps in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Experiment = Literal["", "vision_sft_nano", "vision_sft_super"]

_DATA: Final = "examples/data/BridgeData2-Subset-Synthetic-Captions/sft_dataset_bridge"
_CHECKPOINTS: Final = "examples/checkpoints"
_VAE: Final = f"{_CHECKPOINTS}/wan22_vae/Wan2.2_VAE.pth"

_COMMON: Final[Mapping[str, object]] = {
    "job.project": "cosmos3",
    "job.group": "sft",
    "checkpoint.load_path": "${oc.env:BASE_CHECKPOINT_PATH}",
    "model.tokenizer.vae_path": "${oc.env:WAN_VAE_PATH}",
    "dataloader_train.dataset_path": "${oc.env:DATASET_PATH}",
    "dataloader_train.resolution": "256",
    "scheduler.name": "lambdacosine",
    "optimizer.lr": 5e-4,  # the files of the recipes say their own
}
EXPERIMENTS: Final[Mapping[str, Mapping[str, object]]] = {
    "vision_sft_nano": {**_COMMON, "job.name": "vision_sft_nano", "model.size": "nano"},
    "vision_sft_super": {
        **_COMMON,
        "job.name": "vision_sft_super",
        "model.size": "super",
        "model.parallelism.context_parallel_shard_degree": 2,
    },
}
# What `launch_sft_<recipe>.sh` sets where nothing is exported.
LAUNCHERS: Final[Mapping[str, Mapping[str, str]]] = {
    "": {"WAN_VAE_PATH": _VAE},
    **{
        f"vision_sft_{tier}": {
            "DATASET_PATH": _DATA,
            "BASE_CHECKPOINT_PATH": f"{_CHECKPOINTS}/Cosmos3-{tier.capitalize()}",
            "WAN_VAE_PATH": _VAE,
        }
        for tier in ("nano", "super")
    },
}
