"""The sizes of a network and of what is trained of it: all that memory depends on, as a few whole numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.plan.memory.network import Network
from tao_runtime.plan.memory.trainable import trainable_shapes
from tao_runtime.plan.model import ModelPlan

PARTS: Final = {"visual": "model.visual.", "language_model": "model.language_model.", "lm_head": "lm_head."}
_BLOCK = re.compile(r"(.*\.(?:blocks|layers)\.\d+)\.")


@dataclass(frozen=True, slots=True)
class Share:
    """Parameters by where they lie: a block is gathered and reduced at a time, the rest once a step."""

    total: int
    root: int  # in no block
    largest: int  # block


@dataclass(frozen=True, slots=True)
class Sizes:
    """A network as it is trained."""

    network: Network
    parts: Mapping[str, int]  # parameters of the base, by part of the model
    every: Share  # adapters included
    trained: Share
    vision_trained: bool


def measure(network: Network, plan: ModelPlan) -> Sizes:
    """Return the sizes of a network as a plan trains it."""
    trained = trainable_shapes(network, plan)
    parts = {name: network.count(prefix) for name, prefix in PARTS.items()}
    vision = any(".visual." in name for name in trained)
    return Sizes(network, parts, _share({**network.shapes, **trained}), _share(trained), vision)


def _share(shapes: Mapping[str, tuple[int, ...]]) -> Share:
    blocks: dict[str, int] = {}
    for name, shape in shapes.items():
        match = _BLOCK.match(name)
        block = match.group(1) if match else ""
        blocks[block] = blocks.get(block, 0) + math.prod(shape)
    every, root = sum(blocks.values()), blocks.pop("", 0)
    return Share(every, root, max(blocks.values(), default=0))
