"""The dry half of the Cosmos3 reasoner, whose conversations are those of Qwen3-VL: which prompt format it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tao_runtime.data import cosmos3_vision
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
    "LEFT_OUT",
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
    "to_library",
]

PROMPT_FORMAT = "qwen3_vl/timestamps"  # the same architecture, and the same template

forward_flops = vision_language_flops

# A checkpoint of both towers holds the generator beside the reasoner's language model.
LEFT_OUT: Final = ("_moe_gen", "vae2llm", "llm2vae", "time_embedder", "_extra_state")
_LANGUAGE: Final = "language_model.model."


def to_library(name: str) -> str:
    """Return the reasoner's name of a tensor of a checkpoint of both towers, in upstream's names or diffusers'.

    net.language_model.model.layers.0.mlp.up_proj.weight -> model.language_model.layers.0.mlp.up_proj.weight; what
    belongs to the generator keeps a name of upstream's that no reasoner has.
    """
    plain = name.removeprefix("model.").removeprefix("net.")
    if not plain.startswith(("language_model.", "visual.")) and not any(part in name for part in LEFT_OUT):
        plain = cosmos3_vision.to_original(name).removeprefix("net.")
    if plain.startswith(_LANGUAGE):
        return "model.language_model." + plain.removeprefix(_LANGUAGE)
    if plain.startswith("language_model.lm_head"):
        return plain.removeprefix("language_model.")
    return "model." + plain if plain.startswith("visual.") else plain


# The sizes of the published backbone, by its place on the hub.
NETWORKS: Final[Mapping[str, Mapping[str, object]]] = {"Qwen/Qwen3-VL-8B-Instruct": EIGHT_BILLION}
