"""The configuration of the 8B model of the Qwen3-VL family: published sizes, and what a library needs beside them."""

import json
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

LAYERS, DEPTH, WIDTH = 6, 4, 512  # of the small one


def small() -> dict[str, Any]:
    """Return the configuration of a network of the same kind that a test can run."""
    config = json.loads(json.dumps(CONFIG))
    config["text_config"] |= {"hidden_size": WIDTH, "intermediate_size": 1536, "num_hidden_layers": LAYERS,
                              "num_attention_heads": 4, "num_key_value_heads": 1, "vocab_size": 2048}  # fmt: skip
    config["vision_config"] |= {"depth": DEPTH, "hidden_size": 288, "intermediate_size": 1076, "num_heads": 4,
                                "out_hidden_size": WIDTH, "deepstack_visual_indexes": [0, 1, 2]}  # fmt: skip
    return config | {"video_token_id": 7, "image_token_id": 8, "architectures": ["Qwen3VLForConditionalGeneration"]}
