"""The dry half of the Qwen3-VL family: which prompt format it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tao_runtime.data.families import Turn
from tao_runtime.data.flops import vision_language_flops
from tao_runtime.data.video_chat import (
    END_TOKENS,
    IMAGE_PAD,
    MEDIA_KEYS,
    MEDIA_TAG,
    MEDIA_TOKENS,
    ROLES,
    STEP_OVERHEAD,
    THINK,
    TURN_END,
    TURN_OVERHEAD,
    TURN_START,
    VIDEO_PAD,
    VISION_END,
    VISION_START,
    answer_of,
    bound_tokens,
    media_names,
    question_of,
    read_turns,
    render,
)

__all__ = [
    "END_TOKENS",
    "IMAGE_PAD",
    "MEDIA_KEYS",
    "MEDIA_TAG",
    "MEDIA_TOKENS",
    "NETWORKS",
    "PROMPT_FORMAT",
    "PROMPT_FORMATS",
    "PROMPT_FORMAT_OUTER_PAIR",
    "ROLES",
    "STEP_OVERHEAD",
    "THINK",
    "TURN_END",
    "TURN_OVERHEAD",
    "TURN_START",
    "VIDEO_PAD",
    "VISION_END",
    "VISION_START",
    "Turn",
    "answer_of",
    "bound_tokens",
    "forward_flops",
    "media_names",
    "question_of",
    "read_turns",
    "render",
]

# ChatML with timestamps in front of each temporal step and no outer vision pair, as the models' first release
# (transformers 4.57.1 replaces start, pad and end together). 5.x keeps the pair around: the second format.
PROMPT_FORMAT = "qwen3_vl/timestamps"
PROMPT_FORMAT_OUTER_PAIR = "qwen3_vl/timestamps-outer-pair"
PROMPT_FORMATS = (PROMPT_FORMAT, PROMPT_FORMAT_OUTER_PAIR)

forward_flops = vision_language_flops

# The sizes of the published model, by its place on the hub: what its config.json says (transformers 5.23.0 names).
EIGHT_BILLION: Final[Mapping[str, object]] = {
    "model_type": "qwen3_vl",
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "tie_word_embeddings": False,
    "text_config": {
        "vocab_size": 151936,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "vision_config": {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "in_channels": 3,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 4096,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [8, 16, 24],
    },
}
NETWORKS: Final[Mapping[str, Mapping[str, object]]] = {"nvidia/Cosmos-Reason2-8B": EIGHT_BILLION}
