"""The wet half of the Cosmos3 reasoner: video conversation, in the same architecture."""

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
