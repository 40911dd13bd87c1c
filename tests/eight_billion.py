"""The configuration of the 8B model of the Qwen3-VL family: published sizes, and what a library needs beside them."""

from typing import Any

from tao_runtime.data.cosmos_reason import EIGHT_BILLION

POSITIONS: dict[str, Any] = {
    "max_position_embeddings": 262144,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5000000,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}
SIZES: dict[str, Any] = dict(EIGHT_BILLION)
CONFIG: dict[str, Any] = {**SIZES, "text_config": {**SIZES["text_config"], **POSITIONS}}
