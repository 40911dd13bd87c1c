"""How a model lies in its folder, by the library that loads it, and what travels with the weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from tao_runtime.audit.manifest import MANIFEST
from tao_runtime.engine.weights import INDICES

# Everything of a snapshot that is not a weight travels with it: tokenizer, processor, chat template, generation.
CARRIED = ("*.json", "*.txt", "*.jinja", "*.model")
NOT_CARRIED = ("config.json", *INDICES, "adapter_config.json", MANIFEST)


@dataclass(frozen=True, slots=True)
class ExportLayout:
    """How a model lies in its folder, by the library that loads it."""

    library: str  # transformers or diffusers
    stem: str  # of the files of weights
    finish: Callable[[Path, Path, torch.dtype], None]  # (base, folder, dtype): write what belongs beside the weights
    # (folder, dtype) -> what the library makes of it, and what it finds wrong
    reload: Callable[[Path, torch.dtype], tuple[nn.Module, list[str]]]
    network: str = ""  # folder of the weights inside
    adapter_task: str | None = None  # what peft calls the task of an adapter; None: it wraps any network
    carried: bool = True  # an adapter has what the base carries beside it, such as its tokenizer


def carry(base: Path, target: Path) -> None:
    """Copy the files of a snapshot that are not weights."""
    for pattern in CARRIED:
        for file in base.glob(pattern):
            if file.name not in NOT_CARRIED:
                shutil.copyfile(file, target / file.name)
