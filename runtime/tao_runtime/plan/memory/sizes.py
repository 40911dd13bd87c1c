"""The sizes of a network and of what is trained of it: all that memory depends on, as a few whole numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tao_runtime.plan.memory.learning import Learning, make_learning
from tao_runtime.plan.memory.network import Network
from tao_runtime.plan.memory.trainable import Choice, lora_shapes, trainable_shapes
from tao_runtime.plan.model import ModelPlan

_BLOCK = re.compile(r"((?:.*\.)?(?:transformer_blocks|blocks|layers)\.\d+)\.")


@dataclass(frozen=True, slots=True)
class Share:
    """Parameters by where they lie: a block is gathered and reduced at a time, the rest once a step."""

    total: int
    root: int  # in no block
    largest: int  # block
    last: int  # block of those that go back: the first with anything to train
    head: int  # of what is in none, the weight that makes logits


@dataclass(frozen=True, slots=True)
class Sizes:
    """A network as it is trained."""

    parts: Mapping[str, int]  # parameters of the base, by part of the model
    every: Share  # adapters included
    trained: Share
    learning: Learning


def measure(network: Network, plan: ModelPlan, choice: Choice | None = None) -> Sizes:
    """Return the sizes of a network as a plan trains it."""
    trained = trainable_shapes(network, plan, choice)
    added = {name: shape for name, shape in trained.items() if name not in network.shapes}
    if plan.lora is not None:  # also those that are not trained
        added |= dict(lora_shapes(network, plan.lora))
    every, last = {**network.shapes, **added}, next(filter(None, map(_block_of, trained)), "")
    whole, part = (_share(shapes, last, network.logit_weight) for shapes in (every, trained))
    return Sizes(_parts(network.shapes), whole, part, make_learning(trained, plan.lora))


def _parts(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return parameters by the first name of theirs that is not `model`."""
    parts: dict[str, int] = {}
    for name, shape in shapes.items():
        part = name.removeprefix("model.").partition(".")[0]
        parts[part] = parts.get(part, 0) + math.prod(shape)
    return parts


def _block_of(name: str) -> str:
    """Return the block that a parameter lies in, empty if in none."""
    match = _BLOCK.match(name)
    return match.group(1) if match else ""


def _share(shapes: Mapping[str, tuple[int, ...]], last: str, head: str) -> Share:
    blocks: dict[str, int] = {}
    for name, shape in shapes.items():
        block = _block_of(name)
        blocks[block] = blocks.get(block, 0) + math.prod(shape)
    every, root = sum(blocks.values()), blocks.pop("", 0)
    logits = math.prod(shapes[head]) if head in shapes else 0
    return Share(every, root, max(blocks.values(), default=0), blocks.get(last, 0), logits)
