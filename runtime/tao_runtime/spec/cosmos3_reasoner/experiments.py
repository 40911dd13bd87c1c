"""The shipped bases of the reasoner, by upstream's experiment names: what upstream keeps in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Experiment = Literal["", "pre_exp012_llava_ov", "videophy2_sft_nano"]
BACKBONE: Final = "Qwen/Qwen3-VL-8B-Instruct"

_COMMON: Final[Mapping[str, object]] = {
    "job.project": "cosmos3",
    "model.backbone.model_name": BACKBONE,
    "model.ema.enabled": False,
    "dataloader_train.max_sequence_length": 16000,
    "dataloader_train.max_samples_per_batch": 1,
}
EXPERIMENTS: Final[Mapping[str, Mapping[str, object]]] = {
    "pre_exp012_llava_ov": {
        **_COMMON,
        "job.group": "vlm_llava_ov_demo",
        "job.name": "pre_exp012_llava_ov",
        "dataloader_train.dataset_format": "llava-parquet",
        "dataloader_train.dataset_path": "${oc.env:DATASET_PATH}",
    },
    "videophy2_sft_nano": {
        **_COMMON,
        "job.group": "vlm_videophy2_sft",
        "job.name": "videophy2_sft_nano",
        "model.backbone.safetensors_path": "${oc.env:VLM_SAFETENSORS_PATH}",
        "dataloader_train.dataset_format": "videophy2",
        "dataloader_train.dataset_path": "${oc.env:VIDEOPHYSICS_ROOT}/videophy2_train",
    },
}
# Where the guide's own steps put things; its launchers ask for these two variables, and stream the first data set.
LAUNCHERS: Final[Mapping[str, Mapping[str, str]]] = {
    "pre_exp012_llava_ov": {"DATASET_PATH": "examples/data/LLaVA-OneVision-Data"},
    "videophy2_sft_nano": {
        "VIDEOPHYSICS_ROOT": "examples/data/videophysics",
        "VLM_SAFETENSORS_PATH": "examples/checkpoints/Cosmos3-Nano-VLM",
    },
}
