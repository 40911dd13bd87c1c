"""What training on clips costs: the arithmetic of a sample, and the time of a step where the device is known."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Final

from tao_runtime.data.clips import Clip
from tao_runtime.data.facts import DatasetFacts, Facts
from tao_runtime.data.families import network_names
from tao_runtime.data.t5 import MAX_TOKENS
from tao_runtime.plan.clip_data import samples_of
from tao_runtime.plan.devices import UTILISATION, peak_flops
from tao_runtime.plan.diffusion import TextPlan
from tao_runtime.plan.model import EstimatePlan, Range, TrainPlan

SAMPLED: Final = 2000  # clips whose arithmetic is counted for an estimate
BYTES_PER_TOKEN: Final = 3.5  # of text, about
AROUND: Final = 40  # tokens that a chat, and what is said of length and size, add to a caption
RECOMPUTED: Final = {"none": 0.0, "selective": 0.3, "full": 1.0}  # forward passes

SampleFlops = Callable[[int, int], float]  # (record, tokens of its clip) -> FLOP of one forward pass


def sample_flops(plan: TrainPlan, facts: Facts) -> SampleFlops | None:
    """Return the arithmetic of a sample of the training set; None where the network's config does not say it."""
    data, model = facts.datasets.get("train"), facts.models.get("model")
    count = network_names(plan.family).clip_flops(model.config) if model is not None else None
    if count is None or data is None or plan.diffusion is None:
        return None
    text = plan.diffusion.text
    return lambda record, tokens: count(tokens, text_tokens(data, record, text))


def text_tokens(data: DatasetFacts, record: int, text: TextPlan) -> int:
    """Return how many tokens of text a clip has: as many as states are padded to, or by the bytes of its caption."""
    if text.kind == "t5":
        return text.max_tokens or MAX_TOKENS
    assert data.windows is not None
    captions = data.windows.caption_bytes[int(data.windows.start[record]) : int(data.windows.start[record + 1])]
    return AROUND + int(captions.mean() / BYTES_PER_TOKEN) if len(captions) else AROUND


def with_time(plan: TrainPlan, facts: Facts) -> TrainPlan:
    """Return a plan whose estimate has the time of a step and of all of them, where device and network are known."""
    step = _step_seconds(plan, facts)
    if step is None:
        return plan
    total = plan.steps.total
    every = Range(low=step.low * total, expected=step.expected * total, high=step.high * total) if total else None
    estimate: EstimatePlan = plan.estimate.model_copy(update={"step_seconds": step, "total_seconds": every})
    return plan.model_copy(update={"estimate": estimate})


def _step_seconds(plan: TrainPlan, facts: Facts) -> Range | None:
    """Return the time of a step by the arithmetic of some clips, spread over the data set."""
    flops, data, rules = sample_flops(plan, facts), facts.datasets.get("train"), plan.data.clips
    peak = peak_flops(facts.host.gpu_name or "", plan.precision.compute)
    if flops is None or data is None or rules is None or peak is None:
        return None
    usable = data.columns.usable.nonzero()[0].tolist()
    clips = [
        (record, found.tokens)
        for record in usable[:: max(1, len(usable) // SAMPLED)]
        for found in samples_of(data, record, rules)[:1]
        if isinstance(found, Clip)
    ]
    samples = _samples_of_step(plan, fmean([tokens for _, tokens in clips])) if clips else None
    if not samples:
        return None
    passes = (3 if plan.model.lora is None else 2) + RECOMPUTED[plan.precision.activation_checkpointing]
    mean = fmean([flops(record, tokens) for record, tokens in clips])
    work = passes * samples * mean / (peak * plan.mesh.world)
    best, usual, poor = UTILISATION
    return Range(low=work / best, expected=work / usual, high=work / poor)


def _samples_of_step(plan: TrainPlan, mean_tokens: float) -> float | None:
    """Return the samples of a step; where packs are filled, about as many as their tokens hold."""
    batch = plan.batch
    if batch.global_batch:
        return float(batch.global_batch)
    if not batch.pack_tokens or not batch.data_parallel or not batch.accumulation:
        return None
    per_pack = max(1.0, batch.pack_tokens / mean_tokens)
    if batch.max_samples is not None:
        per_pack = min(per_pack, batch.max_samples)
    return per_pack * batch.accumulation * batch.data_parallel
