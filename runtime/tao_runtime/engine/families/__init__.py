"""The wet half of a family, as the engine sees it: a module `tao_runtime.engine.families.<family>`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tao_runtime.data.facts import VisionGeometry
    from tao_runtime.engine.samples import Item
    from tao_runtime.plan.model import GenerationPlan

    Batch = dict[str, torch.Tensor]


class WetFamily(Protocol):
    """What a family gives the engine. Single-device code: parallelism is the engine's."""

    def build(self, directory: Path) -> nn.Module:
        """Return the network of a snapshot, without weights, on the current default device."""

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """Return the repeated blocks, in forward order: units of sharding, checkpointing and compilation."""

    def part_of(self, parameter: str) -> str:
        """Return which part of the model (language_model, visual, projector, lm_head) a parameter belongs to."""

    def collate(self, items: Sequence[Item], geometry: VisionGeometry, *, left_pad: bool = False) -> Batch:
        """Return the tensors of a micro-batch; an empty sequence gives a batch that trains on nothing."""

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the summed negative log-likelihood of the supervised tokens: the numerator, float32, scalar."""

    def generate(self, model: nn.Module, batch: Batch, plan: GenerationPlan, *, end_ids: Sequence[int]) -> torch.Tensor:
        """Return the new tokens [batch, new], padded after the end token."""


def wet_family(name: str) -> WetFamily:
    """Return the wet half of a family; importing it imports torch and transformers."""
    return cast(WetFamily, importlib.import_module(f"tao_runtime.engine.families.{name}"))
