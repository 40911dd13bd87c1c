"""The tensors of an export, one by one: read where they lie, adapters merged into their base weights on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from tao_runtime.engine import adapter
from tao_runtime.engine.export.stream import Form
from tao_runtime.engine.weights import clean_name

# name in the base, parameter -> its whole value on the CPU, in the type that training keeps it in
Read = Callable[[str, nn.Parameter], torch.Tensor]


def gather(name: str, parameter: nn.Parameter) -> torch.Tensor:
    """Return a parameter of a model in memory, whole, on the CPU. Collective."""
    value = parameter.detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).cpu()


@dataclass(slots=True)
class Assembly:
    """Walks through a model that may carry LoRA. Every rank must go through all of it: reading may be collective."""

    model: nn.Module
    read: Read
    fresh: frozenset[str] = frozenset()  # parameters that no base holds: trained, and not exported
    lora: dict[str, torch.Tensor] = field(default_factory=dict)  # the adapter's tensors, as they come by

    def forms(self, dtype: torch.dtype) -> dict[str, Form]:
        """Return what the merged or full model holds, by the names of the base."""
        return {
            name: Form(dtype, tuple(parameter.shape))
            for name, _, parameter in self._parameters()
            if ".lora_" not in name
        }

    def _parameters(self) -> Iterator[tuple[str, str, nn.Parameter]]:
        for raw, parameter in self.model.named_parameters():
            if raw not in self.fresh:
                yield clean_name(raw), raw, parameter

    @torch.no_grad()
    def merged(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield (name, value) of every tensor of `forms`: W, or W + scaling x B A in float32.

        A layer's weight comes before its A and B, and is held until they are there; nothing else is.
        """
        scaling = {name: float(layer.scaling[adapter.ADAPTER]) for name, layer in adapter.lora_layers(self.model)}
        held: dict[str, torch.Tensor] = {}
        for name, _, parameter in self._parameters():
            value = self.read(name, parameter)
            layer, mark, matrix = name.partition("lora_")
            if not mark:
                if name.removesuffix("weight") in scaling and name.endswith(".weight"):
                    held[name] = value
                else:
                    yield name, value
                continue
            self.lora[name] = value
            down = self.lora.get(f"{layer}lora_A.{adapter.ADAPTER}.weight")
            if matrix.startswith("B.") and down is not None:
                weight = held.pop(f"{layer}weight").float()
                yield f"{layer}weight", weight + scaling[layer] * (value.float() @ down.float())
        assert not held, f"no A and B came for {sorted(held)[:3]}"

    @torch.no_grad()
    def adapter_only(self, saved: tuple[str, ...]) -> Iterator[tuple[str, torch.Tensor]]:
        """Read the adapter's tensors into `lora`, and yield those of modules that are saved whole."""
        for name, _, parameter in self._parameters():
            if ".lora_" in name:
                self.lora[name] = self.read(name, parameter)
            elif set(name.split(".")) & set(saved):
                yield name, self.read(name, parameter)
