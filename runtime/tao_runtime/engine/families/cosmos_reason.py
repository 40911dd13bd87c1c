"""The wet half of Cosmos-Reason: video conversation."""

from tao_runtime.data.facts import Facts
from tao_runtime.engine.chat_source import open_source
from tao_runtime.engine.families import Batch
from tao_runtime.engine.trace.chat import rehearse_chat
from tao_runtime.engine.video_chat import (
    BROKEN,
    EXPORT,
    LEFT_OUT,
    blocks,
    build,
    chance_loss,
    collate,
    collate_prompts,
    disturb,
    fresh_parameters,
    generate,
    library_name,
    loss,
    num_tokens,
    original_name,
    part_of,
    share_sequence,
    trial_arguments,
    weight,
)
from tao_runtime.plan.cosmos_reason.memory import model_of
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
    return rehearse_chat(plan, facts, model_of(facts))
