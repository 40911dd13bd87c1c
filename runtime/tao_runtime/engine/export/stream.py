"""Safetensors written tensor by tensor, in any order: sizes are known before, so nothing waits in memory."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from tao_runtime.errors import RunError

SHARD_BYTES = 4 << 30
# The format's names of types (safetensors 0.8, README "Format").
CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True, slots=True)
class Form:
    """Type and shape of a tensor that will be written."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


class TensorStream:
    """Writes tensors of known names and forms into shards and their index. `close` tells what was never written."""

    def __init__(self, folder: Path, stem: str, forms: Mapping[str, Form], *, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = folder
        self.forms = dict(forms)
        self._open: dict[str, tuple[BinaryIO, int]] = {}  # tensor -> its file, and where it begins there
        self._files: list[BinaryIO] = []
        folder.mkdir(parents=True, exist_ok=True)
        shards = split(self.forms, shard_bytes)
        weight_map: dict[str, str] = {}
        for number, names in enumerate(shards, 1):
            one = len(shards) == 1
            file = f"{stem}.safetensors" if one else f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
            self._begin(folder / file, names)
            weight_map.update(dict.fromkeys(names, file))
        if len(shards) > 1:
            total = sum(form.nbytes for form in self.forms.values())
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True))

    def _begin(self, path: Path, names: list[str]) -> None:
        """Write a header: 8 bytes of length, then JSON padded to 8. Wide types first, so that all lie aligned."""
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        places, end = {}, 0
        for name in sorted(names, key=lambda name: -self.forms[name].dtype.itemsize):
            form = self.forms[name]
            begin, end = end, end + form.nbytes
            places[name] = begin
            header[name] = {"dtype": CODES[form.dtype], "shape": list(form.shape), "data_offsets": [begin, end]}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        file = path.open("wb")
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
        self._files.append(file)
        self._open.update({name: (file, 8 + len(text) + begin) for name, begin in places.items()})

    def write(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Write one tensor, cast to its form; returns what was written."""
        form = self.forms[name]
        if tuple(value.shape) != form.shape:
            raise RunError(f"{name}: {list(value.shape)}, announced as {list(form.shape)}")
        file, place = self._open.pop(name)
        value = value.to(form.dtype).contiguous()
        file.seek(place)
        file.write(value.reshape(-1).view(torch.uint8).numpy().data)
        return value

    def close(self) -> None:
        """Make the files durable.

        Raises:
            RunError: a tensor was never written.
        """
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        if self._open:
            lost = sorted(self._open)
            raise RunError(f"{self.folder}: {len(lost)} tensors were never written: {', '.join(lost[:5])}")


def split(forms: Mapping[str, Form], shard_bytes: int) -> list[list[str]]:
    """Return names in shards of at most so many bytes each; a larger tensor has one of its own."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, form in forms.items():
        if shards[-1] and size + form.nbytes > shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += form.nbytes
    return shards
