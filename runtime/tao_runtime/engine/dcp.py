"""Tensors of torch's distributed checkpoints, one by one, on one process; no pickle of them is executed.

`.metadata` is walked as inert opcodes, and each chunk is read with `weights_only`: a folder may come from anywhere.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import DefaultSavePlanner, FileSystemWriter, save  # type: ignore[attr-defined]
from torch.distributed.checkpoint.metadata import MetadataIndex

from tao_runtime.audit.dcp import METADATA, read_shards
from tao_runtime.audit.folder import open_folder
from tao_runtime.audit.opcodes import PickleShapeError, Record, read_pickle
from tao_runtime.engine.export.stream import CODES, Form
from tao_runtime.errors import InputError

_DTYPES = {code: dtype for dtype, code in CODES.items()}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A rectangle of a tensor, and the bytes that hold it."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    begin: int
    length: int


class DcpFolder:
    """The tensors of one folder with a `.metadata`, by name.

    Raises:
        InputError: it is not such a folder, or is not whole.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shards = read_shards(open_folder(directory))
        wrong = [finding for finding in shards.findings if finding.severity == "error"]
        if wrong or not shards.tensors:
            why = wrong[0].render() if wrong else "no tensors"
            raise InputError(f"{directory}: {why}")
        strange = sorted(name for name, stored in shards.tensors.items() if stored.dtype not in _DTYPES)
        if strange:
            raise InputError(f"{directory}: {strange[0]} is {shards.tensors[strange[0]].dtype}; want plain numbers")
        self.forms = {name: Form(_DTYPES[each.dtype], each.shape) for name, each in shards.tensors.items()}
        self._chunks = _chunks(directory, self.forms)

    @property
    def names(self) -> set[str]:
        return set(self.forms)

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor to the CPU, put together from its chunks."""
        form = self.forms[name]
        chunks = self._chunks[name]
        if len(chunks) == 1 and chunks[0].sizes == form.shape:
            return self._load(name, chunks[0])
        whole = torch.empty(form.shape, dtype=form.dtype)
        for chunk in chunks:
            place = tuple(slice(at, at + size) for at, size in zip(chunk.offsets, chunk.sizes, strict=True))
            whole[place] = self._load(name, chunk)
        return whole

    def _load(self, name: str, chunk: Chunk) -> torch.Tensor:
        with (self.directory / chunk.file).open("rb") as file:
            file.seek(chunk.begin)
            data = file.read(chunk.length)
        try:
            value: torch.Tensor = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except (RuntimeError, ValueError, EOFError, OSError) as error:
            raise InputError(f"{self.directory / chunk.file}: {name} cannot be read: {error}") from error
        if tuple(value.shape) != chunk.sizes or value.dtype != self.forms[name].dtype:
            raise InputError(f"{self.directory / chunk.file}: {name} is not what {METADATA} says")
        return value


def _chunks(directory: Path, forms: Mapping[str, Form]) -> dict[str, list[Chunk]]:
    """Return where the chunks of every tensor lie, by torch's Metadata."""
    try:
        tree = read_pickle((directory / METADATA).read_bytes())
    except (OSError, PickleShapeError) as error:
        raise InputError(f"{directory / METADATA}: {error}") from error
    found: dict[str, list[Chunk]] = {name: [] for name in forms}
    for index, place in tree.get("storage_data").items():
        name = index.get("fqn") if isinstance(index, Record) else None
        if name not in found or not isinstance(place, Record):
            continue
        shape = forms[name].shape
        offsets = _numbers(index.get("offset"))
        sizes = _sizes(tree, name, offsets) if offsets else shape
        file, begin, length = (place.get(key) for key in ("relative_path", "offset", "length"))
        if place.get("transform_descriptors"):
            raise InputError(f"{directory}: {name} is compressed; want a checkpoint without extensions")
        if not isinstance(file, str) or "/" in file or type(begin) is not int or type(length) is not int:
            raise InputError(f"{directory / METADATA}: {name} lies nowhere")
        found[name].append(Chunk(offsets or (0,) * len(shape), sizes, file, begin, length))
    return found


def _numbers(value: Any) -> tuple[int, ...]:
    """Return the numbers of a torch.Size; empty if it is none."""
    if isinstance(value, Record) and len(value.args) == 1:
        value = value.args[0]
    return tuple(value) if isinstance(value, tuple | list) and all(type(each) is int for each in value) else ()


def _sizes(tree: Record, name: str, offsets: tuple[int, ...]) -> tuple[int, ...]:
    for chunk in tree.get("state_dict_metadata")[name].get("chunks"):
        if _numbers(chunk.get("offsets")) == offsets:
            return _numbers(chunk.get("sizes"))
    raise InputError(f"{METADATA}: {name} has a chunk at {offsets} that its table does not know")


class _Lazy(DefaultSavePlanner):
    """Plans over tensors without memory, and reads each one when its turn to be written comes."""

    def __init__(self, read: Any) -> None:
        super().__init__()
        self._read = read

    def lookup_object(self, index: MetadataIndex) -> Any:
        return self._read(index.fqn).contiguous()


def write_dcp(directory: Path, forms: Mapping[str, Form], read: Any) -> None:
    """Write a checkpoint folder of one process; `read` gives each tensor by its name, and none stays in memory."""
    state = {name: torch.empty(form.shape, dtype=form.dtype, device="meta") for name, form in forms.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        save(state, storage_writer=FileSystemWriter(directory), planner=_Lazy(read), no_dist=True)
