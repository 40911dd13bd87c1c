"""Bytes of one rank at the peak of a step: weights, gradients, optimizer, gathered weights, activations, the rest.

An estimate, with a low and a high end: what the allocator, the kernels and the driver take is not known before a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tao_runtime.plan.memory.activations import Activations
from tao_runtime.plan.memory.sizes import Sizes
from tao_runtime.plan.model import BatchPlan, Dtype, MemoryPlan, MeshPlan, OptimizerPlan, PrecisionPlan, Range

BYTES: Final[dict[Dtype, int]] = {"float32": 4, "float16": 2, "bfloat16": 2}
GIB: Final = 2**30
CONTEXT: Final = (0.4 * GIB, 0.8 * GIB, 1.5 * GIB)  # driver context, library workspaces
TRAFFIC: Final = (0.2 * GIB, 0.5 * GIB, 1.5 * GIB)  # buffers of NCCL, where there is more than one process
FRAGMENTED: Final = (0.0, 0.05, 0.2)  # share of what comes and goes that the allocator cannot use
SPREAD: Final = (0.9, 1.0, 1.15)  # of activations: fused kernels keep less, workspaces take more

AVERAGE: Final = 4  # bytes of a number of the averaged weights, which are float32
Ends = tuple[Activations, Activations, Activations]  # of the largest micro-batch of a rank: low, expected, high
NOTHING: Final = Range(low=0, expected=0, high=0)


@dataclass(frozen=True, slots=True)
class Setting:
    """All that the memory of a rank depends on, but the micro-batch."""

    sizes: Sizes
    precision: PrecisionPlan
    mesh: MeshPlan
    batch: BatchPlan
    optimizer: OptimizerPlan
    averaged: bool = False  # a second copy of what is trained
    tokenizer: Range = NOTHING  # what makes latents beside the training


def estimate_memory(setting: Setting, found: Ends) -> MemoryPlan | None:
    """Return the memory of a rank; None where the mesh does not fit the number of processes."""
    mesh, precision, sizes = setting.mesh, setting.precision, setting.sizes
    if not mesh.dp_shard or not mesh.dp_replicate:
        return None
    shards, master = mesh.dp_shard * mesh.cp, BYTES[precision.master]
    weights, gradients = -(-master * sizes.every.total // shards), -(-master * sizes.trained.total // shards)
    gathered, reducing = _gathered(setting), _reducing(setting)
    state = weights + 3 * gradients
    resident = 0 if precision.offload else state - gradients
    averages = -(-AVERAGE * sizes.trained.total // shards) if setting.averaged else 0
    tokenizer = setting.tokenizer.low, setting.tokenizer.expected, setting.tokenizer.high
    totals = [
        resident
        + averages
        + int(tokenizer[place])
        + _moving(setting, each, place, gradients=0 if precision.offload else gradients)
        + int(CONTEXT[place])
        + int(TRAFFIC[place]) * (mesh.world > 1)
        for place, each in enumerate(found)
    ]
    kept = [int(each.peak * SPREAD[place]) for place, each in enumerate(found)]
    return MemoryPlan(
        parameters=dict(sizes.parts),
        trainable=sizes.trained.total,
        weights=weights,
        gradients=gradients,
        optimizer=2 * gradients,
        averages=averages,
        tokenizer=setting.tokenizer if setting.tokenizer != NOTHING else None,
        gathered=gathered,
        reducing=reducing,
        activations=Range(low=kept[0], expected=kept[1], high=kept[2]),
        on_host=state if precision.offload else 0,
        total=Range(low=totals[0], expected=totals[1], high=totals[2]),
    )


def _moving(setting: Setting, found: Activations, place: int, *, gradients: int) -> int:
    """Return the most of what comes and goes: at the loss, in backward, or in the optimizer's step.

    At the loss there are logits and no gradients but those of earlier micro-batches; in backward no logits.
    """
    held = _gathered(setting)
    earlier = gradients if setting.batch.accumulation != 1 else 0
    loss = held + earlier + int((found.kept + found.logits) * SPREAD[place])
    backward = held + _reducing(setting) + int((found.kept + found.block) * SPREAD[place])
    backward = max(backward, held + _reducing_last(setting))
    # Element by element the optimizer needs nothing more, in lists a copy.
    step = gradients if setting.optimizer.implementation == "foreach" else 0
    inside = 1 + FRAGMENTED[place]
    return max(int(loss * inside), gradients + int(backward * inside), gradients + step)


def _is_alone(setting: Setting) -> bool:
    """Whether weights are used where they lie: nothing is gathered, cast or cut."""
    precision = setting.precision
    return setting.mesh.world == 1 and precision.master == precision.compute and not precision.offload


def _gathered(setting: Setting) -> int:
    """Return bytes of weights gathered from other ranks: two blocks, one fetched ahead, and all that is in none."""
    if _is_alone(setting):
        return 0
    every = setting.sizes.every
    held = 2 * every.largest
    if setting.precision.reshard_after_forward is False:
        held = every.total - every.root
    return BYTES[setting.precision.compute] * (every.root + held)


def _reducing(setting: Setting) -> int:
    """Return bytes of gradients that wait in backward for being summed: of a block, and of what is in none.

    The latter wait whole in the computing type until the end, when there are no activations any more.
    """
    trained, precision = setting.sizes.trained, setting.precision
    if _is_alone(setting):
        return 0
    return BYTES[precision.compute] * (trained.root + trained.largest) + BYTES[precision.reduce] * trained.largest


def _reducing_last(setting: Setting) -> int:
    """Return bytes of the gradients of what is in no block, while they are summed at the end of backward."""
    precision = setting.precision
    each = 0 if _is_alone(setting) else BYTES[precision.compute] + BYTES[precision.reduce]
    return each * setting.sizes.trained.root
