"""Bytes of one rank at the peak of a step: weights, gradients, optimizer, gathered weights, activations, the rest.

An estimate, with a low and a high end: what the allocator, the kernels and the driver take is not known before a run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tao_runtime.plan.costs import MemoryPlan, Range
from tao_runtime.plan.memory.activations import Activations
from tao_runtime.plan.memory.sizes import Sizes
from tao_runtime.plan.model import BatchPlan, Dtype, MeshPlan, OptimizerPlan, PrecisionPlan

BYTES: Final[dict[Dtype, int]] = {"float32": 4, "float16": 2, "bfloat16": 2}
GIB: Final = 2**30
CONTEXT: Final = (0.4 * GIB, 0.8 * GIB, 1.5 * GIB)  # driver context, library workspaces
TRAFFIC: Final = (0.2 * GIB, 0.5 * GIB, 1.5 * GIB)  # buffers of NCCL, where there is more than one process
FRAGMENTED: Final = (0.0, 0.05, 0.2)  # share of what comes and goes that the allocator cannot use
SPREAD: Final = (0.9, 1.0, 1.15)  # of activations: fused kernels keep less, workspaces take more

AVERAGE: Final = 4  # bytes of a number of the averaged weights, which are float32
Ends = tuple[Activations, Activations, Activations]  # of the largest micro-batch of a rank: low, expected, high
NOTHING: Final = Range(low=0, expected=0, high=0)
EXPECTED: Final = 1  # place of the middle of three ends


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
    gathered, reducing = _gathered(setting, sizes.every.largest), _reducing(setting, sizes.trained.largest)
    here = 0 if precision.offload else gradients
    state = weights + 3 * gradients
    resident = 0 if precision.offload else state - gradients
    averages = -(-AVERAGE * sizes.trained.total // shards) if setting.averaged else 0
    tokenizer = setting.tokenizer.low, setting.tokenizer.expected, setting.tokenizer.high
    totals = [
        resident
        + averages
        + int(tokenizer[place])
        + _moving(setting, each, place, gradients=here)
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
        peak=resident
        + averages
        + max(sum(moment) for moment in _moments(setting, found[EXPECTED], EXPECTED, gradients=here)),
        total=Range(low=totals[0], expected=totals[1], high=totals[2]),
    )


def _moving(setting: Setting, found: Activations, place: int, *, gradients: int) -> int:
    """Return the most of what comes and goes. Of a rank's own gradients the allocator makes no fragments."""
    moments = _moments(setting, found, place, gradients=gradients)
    return max(own + int(passing * (1 + FRAGMENTED[place])) for own, passing in moments)


def _moments(setting: Setting, found: Activations, place: int, *, gradients: int) -> Iterator[tuple[int, int]]:
    """Yield bytes of a rank's own gradients, and of what passes, at each moment of a step that may be its peak.

    Going back through the blocks frees what each kept and leaves its gradients, evenly: the most is there at one end.
    At the first there are no gradients of the rank's own, but those of earlier micro-batches.
    """
    earlier = gradients if setting.batch.accumulation != 1 else 0
    every, trained, spread = setting.sizes.every, setting.sizes.trained, SPREAD[place]
    held, head, waiting = _gathered(setting, every.largest), _head(setting), _waiting(setting)
    yield earlier, held + (1 + found.chunked) * head + int((found.kept + found.logits) * spread)
    working = held + head + _reducing(setting, trained.largest)
    yield earlier, working + int((found.kept + found.block) * spread)
    yield gradients, working + int((found.last + found.block) * spread)
    ending = _gathered(setting, every.last) + waiting + _reducing(setting, trained.last)
    yield gradients, ending + int((found.last + found.last_block) * spread)
    if waiting:  # is summed at the end, when no weights are gathered any more; first it is copied
        summed = BYTES[setting.precision.reduce] * trained.root
        yield max(earlier, gradients - _own(setting, gradients)), waiting + summed
        yield gradients, summed
    # Element by element the optimizer needs nothing more, in lists a copy.
    yield gradients + (gradients if setting.optimizer.implementation == "foreach" else 0), 0


def _is_alone(setting: Setting) -> bool:
    """Whether weights are used where they lie: nothing is gathered, cast or cut."""
    precision = setting.precision
    return setting.mesh.world == 1 and precision.master == precision.compute and not precision.offload


def _gathered(setting: Setting, block: int) -> int:
    """Return bytes of weights gathered from other ranks: two blocks, one fetched ahead, and all that is in none."""
    if _is_alone(setting):
        return 0
    every = setting.sizes.every
    held = 2 * block
    if setting.precision.reshard_after_forward is False:
        held = every.total - every.root
    return BYTES[setting.precision.compute] * (every.root + held)


def _reducing(setting: Setting, block: int) -> int:
    """Return bytes of gradients of blocks that wait in backward for being summed: of one made, of one on its way."""
    precision = setting.precision
    return 0 if _is_alone(setting) else (BYTES[precision.compute] + BYTES[precision.reduce]) * block


def _head(setting: Setting) -> int:
    """Return bytes of the gradient of what makes logits: whole, and there from the loss on."""
    return BYTES[setting.precision.compute] * setting.sizes.trained.head


def _waiting(setting: Setting) -> int:
    """Return bytes of the gradients of what is in no block: they wait whole, in the computing type, until the end."""
    return 0 if _is_alone(setting) else BYTES[setting.precision.compute] * setting.sizes.trained.root


def _own(setting: Setting, gradients: int) -> int:
    """Return bytes of a rank's part of the gradients of what is in no block."""
    trained = setting.sizes.trained
    return gradients * trained.root // trained.total if trained.total else 0
