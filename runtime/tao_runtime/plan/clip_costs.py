"""Memory and disk of a training on clips, as far as network, clips and mesh tell them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.data.facts import Facts
from tao_runtime.plan.costs import EstimatePlan, MemoryPlan
from tao_runtime.plan.memory.activations import Activations
from tao_runtime.plan.memory.estimate import AVERAGE, BYTES, Ends, Setting, estimate_memory
from tao_runtime.plan.memory.learning import Learning
from tao_runtime.plan.memory.network import Network
from tao_runtime.plan.memory.sizes import Sizes, measure
from tao_runtime.plan.memory.tokenizer import Tokenizer
from tao_runtime.plan.memory.trainable import Choice
from tao_runtime.plan.model import TrainPlan

LATENT_NUMBER: Final = 4  # bytes of one of a latent's numbers on disk
UNKNOWN_FRAMES: Final = 121  # of a clip where neither the spec nor data say it: five seconds


@dataclass(frozen=True, slots=True)
class ClipNetwork:
    """A family's network as its memory is estimated. Everything but the network itself is read from a plan."""

    network: Network
    # Of a micro-batch, where so much learns; 0, 1, 2: low, expected, high.
    activations: Callable[[TrainPlan, int, Learning], Activations]
    original_name: Callable[[str], str]
    tokenizer: Tokenizer

    def sizes(self, plan: TrainPlan) -> Sizes:
        """Return what a plan trains of the network."""
        return measure(self.network, plan.model, Choice(plan.optimizer.keys_to_select, self.original_name))

    def memory(self, plan: TrainPlan, sizes: Sizes | None = None) -> MemoryPlan | None:
        """Return the memory of a rank; None where the mesh does not fit the number of processes."""
        if not plan.batch.data_parallel:
            return None
        sizes = sizes or self.sizes(plan)
        setting = Setting(
            sizes,
            plan.precision,
            plan.mesh,
            plan.batch,
            plan.optimizer,
            averaged=plan.ema is not None,
            tokenizer=self.tokenizer.memory(*largest_clip(plan)),
        )
        low, expected, high = (self.activations(plan, place, sizes.learning) for place in range(3))
        ends: Ends = low, expected, high
        return estimate_memory(setting, ends)


def largest_clip(plan: TrainPlan) -> tuple[int, int, int]:
    """Return frames, height and width of the largest clip that is encoded."""
    rules = plan.data.clips
    assert rules is not None
    height, width = max(rules.sizes, key=lambda size: size[0] * size[1])
    if rules.num_frames is not None:
        return rules.num_frames, height, width
    tokens = plan.estimate.max_tokens
    if tokens is None:
        return UNKNOWN_FRAMES, height, width
    latent = -(-tokens // rules.latent.tokens(1, height, width))
    return (latent - 1) * rules.latent.temporal + 1, height, width


def config_of(facts: Facts, published: Mapping[str, object] | None) -> Mapping[str, object]:
    """Return the configuration of the base; the published one of its size where it is not on this machine."""
    model = facts.models.get("model")
    return model.config if model is not None and model.config else published or {}


def latents_bytes(plan: TrainPlan, facts: Facts) -> int:
    """Return the bytes of latents that a run keeps on disk, at most: those of every sample it draws, up to its budget.

    A clip whose start is drawn has other latents each time.
    """
    rules, (frames, height, width) = plan.data.clips, largest_clip(plan)
    assert rules is not None
    one = LATENT_NUMBER * math.prod(rules.latent.shape(frames, height, width))
    drawn = plan.steps.total * plan.batch.global_batch if plan.steps.total and plan.batch.global_batch else None
    data = facts.datasets.get("train")
    windows = len(data.windows.first) if data is not None and data.windows is not None else None
    if rules.unit == "start":
        windows = plan.data.train.num_records
    elif rules.selection == "random":
        windows = None
    known = [count for count in (drawn, windows) if count is not None]
    return min(plan.data.cache_bytes, one * min(known)) if known else plan.data.cache_bytes


def with_costs(plan: TrainPlan, facts: Facts, made_of: ClipNetwork | None) -> TrainPlan:
    """Return the plan with memory and bytes written; as it is where the network is not known."""
    if plan.data.clips is not None:
        estimate = plan.estimate.model_copy(update={"latents_bytes": latents_bytes(plan, facts)})
        plan = plan.model_copy(update={"estimate": estimate})
    if made_of is None:
        return plan
    sizes = made_of.sizes(plan)
    estimate = with_sizes(plan, sizes, made_of.memory(plan, sizes))
    return plan.model_copy(update={"estimate": estimate})


def with_sizes(plan: TrainPlan, sizes: Sizes, memory: MemoryPlan | None) -> EstimatePlan:
    """Return the estimate of a plan with memory, and with the bytes of a checkpoint and of the export."""
    master, averages = BYTES[plan.precision.master], AVERAGE if plan.ema is not None else 0
    state = memory.weights + memory.gradients + memory.optimizer if memory else plan.estimate.state_bytes_per_rank
    changes = {
        "trainable_parameters": sizes.trained.total,
        "state_bytes_per_rank": state,
        "checkpoint_bytes": (3 * master + averages) * sizes.trained.total,
        "export_bytes": BYTES[plan.precision.compute] * sizes.every.total,  # adapters are also written merged
        "memory": memory,
    }
    return plan.estimate.model_copy(update=changes)
