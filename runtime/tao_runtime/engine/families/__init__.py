"""The wet half of a family, as the engine sees it: FAMILY of the module `tao_runtime.engine.families.<family>`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.distributed import ProcessGroup

    from tao_runtime.data.facts import Facts, VisionGeometry
    from tao_runtime.engine.clip_source import ClipSource
    from tao_runtime.engine.dist import World
    from tao_runtime.engine.export.layout import ExportLayout
    from tao_runtime.engine.samples import Item
    from tao_runtime.engine.source import Source
    from tao_runtime.engine.weights import LoadReport
    from tao_runtime.plan.model import ClipsPlan, GenerationPlan, TrainPlan


# Tensors, and the few numbers and flags that the host must know without asking the device.
Batch = dict[str, Any]


class WetFamily(Protocol):
    """What a family gives the engine. Single-device code: parallelism is the engine's."""

    NETWORKS: tuple[str, ...]  # classes of its networks, by name
    BROKEN: float  # a first loss of so many times that of a model that knows nothing is worse than knowing nothing
    EXPORT: ExportLayout  # how an exported model lies in its folder

    def build(self, directory: Path, *, packed: bool) -> nn.Module:
        """Return the network of a folder without weights: `packed` for training, else to generate."""

    def fresh_parameters(self, model: nn.Module) -> Mapping[str, torch.Tensor]:
        """Return the parameters that no base holds, with what they start from. Trained and saved, not exported."""

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """Return the repeated blocks, in forward order: units of sharding, checkpointing and compilation."""

    def share_sequence(self, model: nn.Module, group: ProcessGroup) -> None:
        """Make the model work on this rank's part of a sequence, the other parts being those of the group's ranks.

        `loss` then returns a part of the numerator: the ranks' parts add up to it.
        """

    LEFT_OUT: tuple[str, ...]  # parts of names that upstream's files have, and that are no parameters of the network

    def library_name(self, original: str) -> str:
        """Return the name that one of upstream's tensors has in the library's network."""

    def original_name(self, parameter: str) -> str:
        """Return the name that a parameter has in upstream's code, which the keys of a spec mean."""

    def part_of(self, parameter: str) -> str:
        """Return which part of the model (language_model, visual, projector, lm_head) a parameter belongs to."""

    def open_source(self, plan: TrainPlan, run_dir: Path, label: str, world: World) -> Source:
        """Open the data set `label` (train, val) of a run through its ledger. Collective."""

    def rehearse(self, plan: TrainPlan, facts: Facts) -> Batch:
        """Return a micro-batch as large as the plan's largest should be, of zeros.

        Raises:
            RunError: nothing says how large that is.
        """

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the numerator of the loss, float32, scalar: a sum over what `weight` counts."""

    def weight(self, batch: Batch) -> int:
        """Return what the numerator is a sum over: supervised tokens, or samples, of a micro-batch."""

    def num_tokens(self, batch: Batch) -> int:
        """Return the tokens that the network runs over, padding and all; known on the host."""

    def chance_loss(self, model: nn.Module, batch: Batch) -> float:
        """Return the numerator of a model that knows nothing."""

    def disturb(self, batch: Batch) -> Batch | None:
        """Return a micro-batch with other media of the same shape; None if it has none."""

    def trial_arguments(self, network: Any, generator: torch.Generator) -> tuple[dict[str, Any], str]:
        """Return small arguments of the network's own forward, and what they are in words."""


class ChatFamily(WetFamily, Protocol):
    """A family that answers."""

    def collate_prompts(self, items: Sequence[Item], geometry: VisionGeometry) -> Batch:
        """Return a batch for `generate`; at least one item."""

    def generate(self, model: nn.Module, batch: Batch, plan: GenerationPlan, *, end_ids: Sequence[int]) -> torch.Tensor:
        """Return the new tokens [batch, new], padded after the end token."""

    def network_inputs(self, model: nn.Module, batch: Batch) -> Batch:
        """Return a batch of prompts as the library's own forward takes it."""

    def next_logits(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the logits [batch, vocabulary] of the first token of each answer."""

    def load_quantised(self, directory: Path, device: torch.device, dtype: torch.dtype) -> tuple[nn.Module, LoadReport]:
        """Return the model of a folder of quantised weights, and what was loaded."""


class ClipFamily(WetFamily, Protocol):
    """A family that makes video: its clips are read the same to train on and to be judged by."""

    def open_source(self, plan: ClipsPlan, run_dir: Path, label: str, world: World) -> ClipSource:
        """Open the data set `label` (train, eval) of a run through its ledger. Collective."""


def wet_family(name: str) -> WetFamily:
    """Return the wet half of a family; importing it imports torch and its like."""
    module = importlib.import_module(f"tao_runtime.engine.families.{name}")
    return cast(WetFamily, module.FAMILY)


def chat_family(name: str) -> ChatFamily:
    """Return the wet half of a family that answers."""
    return cast(ChatFamily, wet_family(name))


def clip_family(name: str) -> ClipFamily:
    """Return the wet half of a family that makes video."""
    return cast(ClipFamily, wet_family(name))
