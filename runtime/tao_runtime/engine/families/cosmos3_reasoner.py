"""The wet half of the Cosmos3 reasoner: video conversation, in the same architecture."""

from typing import Final

from tao_runtime.data import cosmos3_reasoner as dry
from tao_runtime.data.facts import Facts
from tao_runtime.engine.families import Batch, ChatFamily
from tao_runtime.engine.trace.chat import rehearse_chat
from tao_runtime.engine.video_chat import VideoChat
from tao_runtime.plan.cosmos3_reasoner import architecture
from tao_runtime.plan.model import TrainPlan


class Cosmos3Reasoner(VideoChat):
    """The reasoner's tower of a checkpoint that may hold both."""

    NETWORKS = ("Qwen3VLForConditionalGeneration",)
    LEFT_OUT = dry.LEFT_OUT

    def library_name(self, original: str) -> str:
        """Return the reasoner's name of a tensor of a checkpoint of both towers."""
        return dry.to_library(original)

    def rehearse(self, plan: TrainPlan, facts: Facts) -> Batch:
        """Return a micro-batch as large as the plan's largest should be, of zeros."""
        return rehearse_chat(plan, facts, architecture(facts))


FAMILY: Final[ChatFamily] = Cosmos3Reasoner()
