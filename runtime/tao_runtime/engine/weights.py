"""Weights from safetensors into a sharded model, tensor by tensor; every expected tensor must be there and fit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from tao_runtime.data.snapshot import CONTENTS, SHARDED
from tao_runtime.engine.dcp import DcpFolder
from tao_runtime.errors import RunError

INDICES = ("model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.json")

FLOATS = (torch.float32, torch.float16, torch.bfloat16)

# What wrappers put into the names of parameters: activation checkpointing, compilation, peft's base layer.
WRAPPERS = re.compile(r"_checkpoint_wrapped_module\.|_orig_mod\.|base_layer\.")


def clean_name(name: str) -> str:
    """Return the name that a parameter has in the base checkpoint."""
    return WRAPPERS.sub("", name)


class LoadError(RunError):
    """Base tensors are missing or do not fit."""

    def __init__(self, text: str, *, missing: tuple[str, ...], expected: tuple[str, ...]) -> None:
        super().__init__(text)
        self.missing = missing
        self.expected = expected


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What the step-0 gate records: base tensors expected, matched, and left over in the file."""

    expected: int
    matched: int
    unused: tuple[str, ...]


class Snapshot:
    """The tensors of a snapshot directory, by name, opened when asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sharded = DcpFolder(directory / SHARDED) if (directory / SHARDED / CONTENTS).is_file() else None
        self._files = dict(self._locate()) if self.sharded is None else {}

    def _locate(self) -> Iterator[tuple[str, Path]]:
        index = next((path for name in INDICES if (path := self.directory / name).is_file()), None)
        if index is not None:
            for name, file in json.loads(index.read_text())["weight_map"].items():
                yield name, self.directory / file
            return
        for file in sorted(self.directory.glob("*.safetensors")):
            with safe_open(file, framework="pt") as tensors:
                yield from ((name, file) for name in tensors.keys())  # noqa: SIM118 - not a mapping

    @property
    def names(self) -> set[str]:
        return set(self._files) if self.sharded is None else self.sharded.names

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor to the CPU."""
        if self.sharded is not None:
            return self.sharded.read(name)
        with safe_open(self._files[name], framework="pt") as tensors:
            return tensors.get_tensor(name)


def tied_names(model: nn.Module) -> set[str]:
    """Return the names of parameters that share their storage with an earlier one: they need no tensor of their own."""
    first: set[int] = set()
    tied = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            tied.add(clean_name(name))
        first.add(id(parameter))
    return tied


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return this rank's part of a tensor, outside of autograd and sharing its memory."""
    if isinstance(tensor, DTensor):
        with torch.no_grad():
            return tensor.to_local()
    return tensor.detach()


def put(parameter: torch.Tensor, value: torch.Tensor) -> None:
    """Copy a full tensor into a parameter, sharded or not; each rank keeps its own part, nothing is sent."""
    value = value.to(device=parameter.device, dtype=parameter.dtype)
    if isinstance(parameter, DTensor):
        placed = distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
        parameter.to_local().copy_(placed.to_local())
    else:
        parameter.copy_(value)


@torch.no_grad()
def load_base(model: nn.Module, directory: Path, *, added: frozenset[str] = frozenset()) -> LoadReport:
    """Fill every parameter but those in `added` (the adapter's) from a snapshot.

    Raises:
        LoadError: a tensor is missing or has another shape; all of them are named.
    """
    snapshot = Snapshot(directory)
    expected = {clean_name(name): value for name, value in model.named_parameters() if name not in added}
    tied = tied_names(model)
    missing = tuple(sorted(expected.keys() - snapshot.names))
    problems = [f"{name}: not in the snapshot" for name in missing]
    for name in sorted(expected.keys() & snapshot.names):
        value = snapshot.read(name)
        if value.dtype not in FLOATS:
            problems.append(f"{name}: {value.dtype} in the snapshot; want {', '.join(map(str, FLOATS))}, not quantised")
            continue
        if value.shape != expected[name].shape:
            problems.append(f"{name}: {list(value.shape)} in the snapshot, {list(expected[name].shape)} in the model")
            continue
        put(expected[name], value)
    if problems:
        shown = "\n  ".join(problems[:20]) + (f"\n  and {len(problems) - 20} more" if len(problems) > 20 else "")
        text = f"{directory}: {len(problems)} of {len(expected)} base tensors did not load:\n  {shown}"
        raise LoadError(text, missing=missing, expected=tuple(expected))
    unused = tuple(sorted(snapshot.names - expected.keys() - tied))
    return LoadReport(len(expected), len(expected), unused)
