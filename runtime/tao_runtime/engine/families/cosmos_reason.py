"""The wet half of Cosmos-Reason: video conversation."""

from tao_runtime.engine.video_chat import (
    blocks,
    build,
    chance_loss,
    collate,
    collate_prompts,
    disturb,
    generate,
    loss,
    num_tokens,
    original_name,
    part_of,
    share_sequence,
    weight,
)

__all__ = [
    "blocks",
    "build",
    "chance_loss",
    "collate",
    "collate_prompts",
    "disturb",
    "generate",
    "loss",
    "num_tokens",
    "original_name",
    "part_of",
    "share_sequence",
    "weight",
]
