"""Memory, time and disk of a training on conversations about video, for every family of that network."""

from __future__ import annotations

from typing import Final

import numpy as np

from tao_runtime.data.facts import DatasetFacts, Facts, ModelFacts, VisionGeometry
from tao_runtime.data.flops import vision_language_flops
from tao_runtime.data.video_chat import bound_tokens
from tao_runtime.data.vision import SamplingPlan, lay_out
from tao_runtime.plan.clip_costs import with_sizes
from tao_runtime.plan.costs import MemoryPlan, Range
from tao_runtime.plan.devices import UTILISATION, peak_flops
from tao_runtime.plan.memory.activations import Activations, Load, activations
from tao_runtime.plan.memory.estimate import BYTES, Ends, Setting, estimate_memory
from tao_runtime.plan.memory.network import VisionLanguageNetwork
from tao_runtime.plan.memory.sizes import Sizes, measure
from tao_runtime.plan.memory.trainable import Choice
from tao_runtime.plan.model import TrainPlan

SAMPLED: Final = 2000  # records whose arithmetic is counted
BYTES_PER_TOKEN: Final = 3.5  # of text, about
SUPERVISED: Final = (16, 8, 2)  # one token of so many, where no record is known
SEEN: Final = (0.0, 0.8, 0.95)  # share of visual tokens, where no record is known
LEAST_PIXELS: Final = 4 * 32 * 32  # four tokens
MOST_TOKENS: Final = 1_000_000  # a limit from here on is none
Loads = tuple[Load, Load, Load]  # low, expected and high sizes of the largest micro-batch of a rank


def with_chat_costs(
    plan: TrainPlan, facts: Facts, model: ModelFacts | None, network: VisionLanguageNetwork | None
) -> TrainPlan:
    """Return the plan with memory, time and bytes written, as far as configuration, data and device tell them.

    `model`: whose configuration and geometry count.
    """
    if model is None or network is None:
        return plan
    sizes, loads = chat_sizes(plan, network), find_loads(plan, facts, model, plan.data.sampling)
    memory = chat_memory(plan, network, sizes, loads) if loads and plan.batch.data_parallel else None
    seconds, count = _step_seconds(plan, facts, model), plan.steps.total
    changes = {"step_seconds": seconds, "total_seconds": _times(seconds, count) if seconds and count else None}
    estimate = with_sizes(plan, sizes, memory).model_copy(update=changes)
    return plan.model_copy(update={"estimate": estimate})


def _times(seconds: Range, count: int) -> Range:
    return Range(low=seconds.low * count, expected=seconds.expected * count, high=seconds.high * count)


def chat_sizes(plan: TrainPlan, network: VisionLanguageNetwork) -> Sizes:
    """Return what a plan trains of the network, whose names are upstream's."""
    return measure(network, plan.model, Choice(plan.optimizer.keys_to_select, str))


def chat_memory(plan: TrainPlan, network: VisionLanguageNetwork, sizes: Sizes, loads: Loads) -> MemoryPlan | None:
    """Return the memory of a rank whose largest micro-batch is one of `loads`."""
    setting = Setting(sizes, plan.precision, plan.mesh, plan.batch, plan.optimizer, averaged=plan.ema is not None)
    low, expected, high = (_activations(plan, network, sizes, load)[place] for place, load in enumerate(loads))
    ends: Ends = low, expected, high
    return estimate_memory(setting, ends)


def _activations(
    plan: TrainPlan, network: VisionLanguageNetwork, sizes: Sizes, load: Load
) -> tuple[Activations, Activations, Activations]:
    return activations(
        network,
        load,
        mode=plan.precision.activation_checkpointing,
        compute=BYTES[plan.precision.compute],
        cp=plan.mesh.cp,
        learning=sizes.learning,
    )


def find_loads(plan: TrainPlan, facts: Facts, model: ModelFacts, sampling: SamplingPlan) -> Loads | None:
    """Return the size of a micro-batch of the longest record, as often as it holds samples; a pack is as it is filled.

    Its vision is exact. Of its text the bytes are known: a quarter, half, and all of them as tokens. Without records a
    sample is as long as the limit allows; None where there is no limit either.
    """
    train, record = facts.datasets.get("train"), plan.estimate.max_tokens_record
    if train is None or record is None:
        return _unseen(plan)
    visual, upper = bound_tokens(
        train, record, sampling=sampling, geometry=model.geometry, system_prompt=plan.data.system_prompt
    )
    answer = int(train.columns.answer_bytes[record]) + 1
    samples, budget = plan.batch.micro, plan.batch.micro_tokens or plan.batch.pack_tokens
    found = []
    for part in (4, 2, 1):
        text = -(-(upper - visual) // part)
        one = Load(visual + text, visual, min(text, -(-answer // part)))
        count = samples if budget is None else max(1, budget // one.tokens)
        found.append(one.times(count))
    return found[0], found[1], found[2]


def _unseen(plan: TrainPlan) -> Loads | None:
    length, budget = plan.model.max_length, plan.batch.micro_tokens or plan.batch.pack_tokens
    tokens = budget or length * plan.batch.micro
    if length >= MOST_TOKENS or not tokens:
        return None
    low, expected, high = (Load(tokens, int(tokens * SEEN[place]), tokens // SUPERVISED[place]) for place in range(3))
    return low, expected, high


def largest_pixels(train: DatasetFacts, record: int, sampling: SamplingPlan, geometry: VisionGeometry) -> int:
    """Return the pixels of all sampled frames of a record's largest medium."""
    headers = [train.media[medium] for medium in train.columns.media_of(record)]
    layouts = [lay_out(header, sampling, geometry) for header in headers if header is not None]
    return max((len(one.frame_indices) * one.height * one.width for one in layouts), default=0)


def _step_seconds(plan: TrainPlan, facts: Facts, model: ModelFacts) -> Range | None:
    """Return the time of a step by the arithmetic of a sample of records; None where the device is not known."""
    peak = peak_flops(facts.host.gpu_name or "", plan.precision.compute)
    flops = vision_language_flops(model.config, model.geometry)
    train, batch = facts.datasets.get("train"), plan.batch.global_batch
    if peak is None or flops is None or train is None or not batch or not train.num_usable:
        return None
    usable = np.flatnonzero(train.columns.usable)
    chosen = usable[np.linspace(0, len(usable) - 1, min(SAMPLED, len(usable))).astype(int)].tolist()
    total = 0.0
    for record in chosen:
        headers = [train.media[medium] for medium in train.columns.media_of(record)]
        layouts = [lay_out(header, plan.data.sampling, model.geometry) for header in headers if header is not None]
        text = int(train.columns.text_bytes[record] / BYTES_PER_TOKEN)
        answer = int(train.columns.answer_bytes[record] / BYTES_PER_TOKEN) + 1
        total += flops(text + sum(layout.num_tokens for layout in layouts), answer, layouts)
    passes = (3 if plan.model.lora is None else 2) + {"none": 0.0, "selective": 0.3, "full": 1.0}[
        plan.precision.activation_checkpointing
    ]
    work = passes * batch * total / len(chosen) / (peak * plan.mesh.world)
    best, usual, poor = UTILISATION
    return Range(low=work / best, expected=work / usual, high=work / poor)
