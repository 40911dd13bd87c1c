"""What a run should cost: memory, time and bytes, each null where it cannot be known."""

from __future__ import annotations

from pydantic import Field

from tao_runtime.data.lengths import LengthSummary
from tao_runtime.errors import Frozen


class Range(Frozen):
    """An estimate and the ends between which it should lie."""

    low: float
    expected: float
    high: float


class MemoryPlan(Frozen):
    """Bytes that one rank needs on its device at the peak of a step."""

    parameters: dict[str, int] = Field(description="by part of the model, adapters not included")
    trainable: int = Field(description="parameters that are trained, adapters included")
    weights: int = Field(description="this rank's part, in the storage type")
    gradients: int = Field(description="this rank's part")
    optimizer: int = Field(description="this rank's part of two moments")
    gathered: int = Field(description="weights of blocks at work and of what is in no block, in the computing type")
    reducing: int = Field(description="gradients of blocks that are not yet summed over ranks")
    activations: Range
    averages: int = Field(default=0, description="this rank's part of the averaged weights, float32")
    tokenizer: Range | None = Field(
        default=None,
        description="of the video tokenizer: its weights (low: all latents are kept on disk), and encoding one clip",
    )
    on_host: int = Field(default=0, description="with offloading: weights, gradients and moments in host memory")
    peak: int = Field(
        default=0, description="tensors at the peak of a step as counted, without driver, allocator and tokenizer"
    )
    total: Range = Field(description="all of it, with the driver's and the allocator's share")


class EstimatePlan(Frozen):
    """What the run should cost. Null where it cannot be known."""

    trainable_parameters: int | None = None
    state_bytes_per_rank: int | None = Field(
        default=None, description="weights, gradients and optimizer state of one rank; activations not included"
    )
    checkpoint_bytes: int | None = None
    max_tokens: int | None = Field(default=None, description="upper bound of the longest sample")
    max_tokens_record: int | None = None
    tokens_p50: int | None = Field(default=None, description="upper bound of half of the samples")
    tokens_p99: int | None = Field(default=None, description="upper bound of 99 % of the samples")
    memory: MemoryPlan | None = Field(default=None, description="of one rank; null: not known")
    export_bytes: int | None = Field(default=None, description="of the weights or adapter written at the end")
    latents_bytes: int | None = Field(
        default=None, description="of latents kept on disk beside the run, at most; null: none are kept, or not known"
    )
    step_seconds: Range | None = Field(default=None, description="of one optimizer step; null: device not known")
    total_seconds: Range | None = Field(default=None, description="of all steps, without saving and validating")


def spread(lengths: LengthSummary) -> EstimatePlan:
    """Return an estimate that tells of lengths alone."""
    return EstimatePlan(
        max_tokens=lengths.longest,
        max_tokens_record=lengths.record,
        tokens_p50=lengths.p50,
        tokens_p99=lengths.p99,
    )
