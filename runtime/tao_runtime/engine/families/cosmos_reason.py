"""The wet half of Cosmos-Reason: video conversation."""

from typing import Final

from tao_runtime.data.facts import Facts
from tao_runtime.engine.families import Batch, ChatFamily
from tao_runtime.engine.trace.chat import rehearse_chat
from tao_runtime.engine.video_chat import VideoChat
from tao_runtime.plan.cosmos_reason.memory import model_of
from tao_runtime.plan.model import TrainPlan


class CosmosReason(VideoChat):
    """The network as its library has it."""

    NETWORKS = ("Qwen3VLForConditionalGeneration",)

    def rehearse(self, plan: TrainPlan, facts: Facts) -> Batch:
        """Return a micro-batch as large as the plan's largest should be, of zeros."""
        return rehearse_chat(plan, facts, model_of(facts))


FAMILY: Final[ChatFamily] = CosmosReason()
