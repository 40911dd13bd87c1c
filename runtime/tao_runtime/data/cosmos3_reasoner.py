"""The dry half of the Cosmos3 reasoner, whose conversations are those of Qwen3-VL: which prompt format it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tao_runtime.data.cosmos_reason import EIGHT_BILLION
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
    "ROLES",
    "STEP_OVERHEAD",
    "THINK",
    "TURN_END",
    "TURN_OVERHEAD",
    "TURN_START",
    "VIDEO_PAD",
    "VISION_END",
    "VISION_START",
    "answer_of",
    "bound_tokens",
    "forward_flops",
    "media_names",
    "question_of",
    "read_turns",
    "render",
]

PROMPT_FORMAT = "qwen3_vl/timestamps"  # the same architecture, and the same template

forward_flops = vision_language_flops

# The sizes of the published backbone, by its place on the hub.
NETWORKS: Final[Mapping[str, Mapping[str, object]]] = {"Qwen/Qwen3-VL-8B-Instruct": EIGHT_BILLION}
