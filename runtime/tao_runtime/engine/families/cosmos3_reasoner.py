"""The wet half of the Cosmos3 reasoner: video conversation, in the same architecture."""

from tao_runtime.data.cosmos3_reasoner import LEFT_OUT
from tao_runtime.data.cosmos3_reasoner import to_library as library_name
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
    weight,
)

__all__ = [
    "BROKEN",
    "EXPORT",
    "LEFT_OUT",
    "blocks",
    "build",
    "chance_loss",
    "collate",
    "collate_prompts",
    "disturb",
    "fresh_parameters",
    "generate",
    "library_name",
    "loss",
    "num_tokens",
    "open_source",
    "original_name",
    "part_of",
    "share_sequence",
    "weight",
]
