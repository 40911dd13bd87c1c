"""The dry half of the Qwen3-VL family: which prompt format it has."""

from __future__ import annotations

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
