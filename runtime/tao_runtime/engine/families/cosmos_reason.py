"""The wet half of Cosmos-Reason: video conversation."""

from tao_runtime.engine.chat_source import open_source
from tao_runtime.engine.video_chat import (
    BROKEN,
    EXPORT,
    blocks,
    build,
    chance_loss,
    collate,
    collate_prompts,
    disturb,
    fresh_parameters,
    generate,
    loss,
    num_tokens,
    original_name,
    part_of,
    share_sequence,
    trial_arguments,
    weight,
)

NETWORKS = ("Qwen3VLForConditionalGeneration",)

__all__ = [
    "BROKEN",
    "EXPORT",
    "NETWORKS",
    "blocks",
    "build",
    "chance_loss",
    "collate",
    "collate_prompts",
    "disturb",
    "fresh_parameters",
    "generate",
    "loss",
    "num_tokens",
    "open_source",
    "original_name",
    "part_of",
    "share_sequence",
    "trial_arguments",
    "weight",
]
