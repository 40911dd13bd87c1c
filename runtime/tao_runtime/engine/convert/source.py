"""Weights by name, wherever they lie: a folder of a library, a distributed checkpoint, a file of upstream.

Nothing is executed, and nothing is read before it is asked for.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from tao_runtime.audit.dcp import METADATA
from tao_runtime.data.snapshot import SHARDED, network_folder
from tao_runtime.engine.dcp import DcpFolder
from tao_runtime.engine.export.stream import CODES, Form
from tao_runtime.errors import InputError

_DTYPES = {code: dtype for dtype, code in CODES.items()}
PICKLED = (".pt", ".pth", ".bin", ".ckpt")
# Where trainers keep the weights in a file that holds more.
INSIDE = ("model", "state_dict", "module")


@dataclass(frozen=True, slots=True)
class Source:
    """Tensors by the names that the source gives them."""

    path: Path
    forms: Mapping[str, Form]
    read: Callable[[str], torch.Tensor]
    folder: Path | None = None  # of a library: configuration and companions are there


def open_source(path: Path) -> Source:
    """Open whatever holds weights.

    Raises:
        InputError: it holds none, or needs code to be executed.
    """
    if path.is_file():
        return _pickled(path) if path.suffix in PICKLED else _safetensors(path, [path])
    if not path.is_dir():
        raise InputError(f"{path}: does not exist; want a folder or a file of weights")
    network = network_folder(path)
    library = path if (network / "config.json").is_file() else None
    for folder in (path, path / SHARDED, network / SHARDED):
        if (folder / METADATA).is_file():
            sharded = DcpFolder(folder)
            return Source(path, sharded.forms, sharded.read, library)
    files = sorted(network.glob("*.safetensors"))
    if files:
        return _safetensors(path, files, library)
    pickled = [file for file in sorted(path.iterdir()) if file.suffix in PICKLED]
    if len(pickled) == 1:
        return _pickled(pickled[0])
    raise InputError(f"{path}: no weights; want safetensors, a distributed checkpoint ({METADATA}), or one .pt file")


def _safetensors(path: Path, files: list[Path], folder: Path | None = None) -> Source:
    places: dict[str, Path] = {}
    forms: dict[str, Form] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    view = tensors.get_slice(name)
                    places[name] = file
                    forms[name] = Form(_DTYPES[view.get_dtype()], tuple(view.get_shape()))
        except (SafetensorError, OSError, KeyError) as error:
            raise InputError(f"{file}: {error}; want a safetensors file of plain numbers") from error

    def read(name: str) -> torch.Tensor:
        with safe_open(places[name], framework="pt") as tensors:
            value: torch.Tensor = tensors.get_tensor(name)
            return value

    return Source(path, forms, read, folder)


def _pickled(path: Path) -> Source:
    """Open a file of torch.save: mapped, so that tensors are read when they are used; no code in it is executed."""
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, ValueError, EOFError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise InputError(f"{path}: {reason}; want a file of torch.save that holds tensors and nothing else") from error
    for key in INSIDE:
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
            break
    tensors = (
        {str(name): value for name, value in tree.items() if isinstance(value, torch.Tensor)}
        if isinstance(tree, dict)
        else {}
    )
    if not tensors:
        raise InputError(f"{path}: no tensors by name; want a state dict, alone or under {', '.join(INSIDE)}")
    forms = {name: Form(value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    return Source(path, forms, tensors.__getitem__)
