"""The wet half of the Cosmos3 reasoner: video conversation, in the same architecture."""

from tao_runtime.data.cosmos3_reasoner import LEFT_OUT
from tao_runtime.data.cosmos3_reasoner import to_library as library_name
from tao_runtime.data.facts import Facts
from tao_runtime.engine.chat_source import open_source
from tao_runtime.engine.families import Batch
from tao_runtime.engine.trace.chat import rehearse_chat
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
from tao_runtime.plan.cosmos3_reasoner import architecture
from tao_runtime.plan.model import TrainPlan

NETWORKS = ("Qwen3VLForConditionalGeneration",)

__all__ = [
    "BROKEN",
    "EXPORT",
    "LEFT_OUT",
    "NETWORKS",
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
    "rehearse",
    "share_sequence",
    "trial_arguments",
    "weight",
]


def rehearse(plan: TrainPlan, facts: Facts) -> Batch:
    """Return a micro-batch as large as the plan's largest should be, of zeros."""
    return rehearse_chat(plan, facts, architecture(facts))
