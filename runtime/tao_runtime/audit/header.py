"""The header of a safetensors file, read without trusting a word of it.

8 bytes of length (little endian), that many bytes of JSON, then the data; the tensors must fill the data without
overlap, gap or rest. Source: the format's own README and `safetensors/src/tensor.rs` (validate).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tao_runtime.audit.codes import found, some
from tao_runtime.audit.folder import shorten
from tao_runtime.errors import Finding

MAX_HEADER_BYTES: Final = 100_000_000  # the format refuses longer headers
MAX_NAME: Final = 1_000  # characters: what looks at names may take the square of their length
_PICKLES: Final = (b"\x80", b"PK\x03\x04")  # a bare pickle, and the archive of torch.save
# Bits of an element, by the format's names.
BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies, and what it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    begin: int  # bytes from the start of the file
    end: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Header:
    """The tensors of a file that can be trusted, its metadata, and what is wrong with the rest."""

    tensors: tuple[Tensor, ...] = ()
    metadata: dict[str, str] | None = None
    findings: tuple[Finding, ...] = ()


def read_header(path: Path, where: str) -> Header:
    """Read and judge the header of a file."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else None
            if length is None:
                return Header(findings=(found("not-safetensors", where, f"{size} bytes", "a safetensors file"),))
            if length > min(size - 8, MAX_HEADER_BYTES):
                if start.startswith(_PICKLES):  # a short true header can begin with such bytes: only asked here
                    return Header(findings=(found("not-safetensors", where, "a pickle or a zip archive",
                                                  "a safetensors file"),))  # fmt: skip
                saw = f"a header of {length:,} bytes in a file of {size:,}"
                want = f"a header inside the file, of at most {MAX_HEADER_BYTES:,} bytes"
                return Header(findings=(found("header-length", where, saw, want),))
            raw = file.read(length)
    except OSError as error:
        return Header(findings=(found("unreadable", where, error.strerror or str(error), "a file that can be read"),))
    try:
        pairs = json.loads(raw, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        return Header(findings=(found("not-safetensors", where, f"a header that is no JSON: {shorten(str(error))}",
                                      "a safetensors file"),))  # fmt: skip
    if not isinstance(pairs, _Pairs):
        return Header(findings=(found("not-safetensors", where, "a header that is no JSON object", "an object"),))
    return _judge(pairs, path, where, data=8 + length, size=size)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands in the file: a name may come twice."""


def _judge(pairs: _Pairs, path: Path, where: str, *, data: int, size: int) -> Header:
    tensors: dict[str, Tensor] = {}
    findings: list[Finding] = []
    metadata: dict[str, str] | None = None
    twice: list[str] = []
    for name, value in pairs:
        if name == "__metadata__":
            metadata = _metadata(value)
            if metadata is None:
                findings.append(found("header-entry", where, "__metadata__ is not texts by name", "texts by name"))
            continue
        tensor, why = _entry(name, value, path, data)
        if tensor is None:
            findings.append(found("header-entry", where, why, "dtype, shape, and offsets that fit them",
                                  pointer=shorten(name)))  # fmt: skip
        elif name in tensors:
            twice.append(shorten(name))
        else:
            tensors[name] = tensor
    if twice:
        findings.append(found("duplicate-tensor", where, f"{some(twice)}: twice in the header", "each name once"))
    whole = tuple(tensor for tensor in tensors.values() if tensor.end <= size)
    if not findings:  # offsets of a header with holes of its own say nothing
        findings.extend(_layout(sorted(tensors.values(), key=lambda each: (each.begin, each.end)), where, data, size))
    return Header(whole, metadata, tuple(findings))


def _metadata(value: object) -> dict[str, str] | None:
    if not isinstance(value, _Pairs) or not all(isinstance(item, str) for _, item in value):
        return None
    return dict(value)


def _entry(name: str, value: object, path: Path, data: int) -> tuple[Tensor | None, str]:
    """Return a tensor, or why there is none."""
    if len(name) > MAX_NAME:
        return None, f"a name of {len(name):,} characters"
    entry = dict(value) if isinstance(value, _Pairs) else {}
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        return None, f"dtype {shorten(str(dtype), 20)}"
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:  # type: ignore[arg-type]
        return None, "shape or offsets are not lists of natural numbers"
    begin, end = offsets  # type: ignore[misc]
    bits = math.prod(shape) * BITS[dtype]  # type: ignore[arg-type]
    if begin > end or bits != 8 * (end - begin):
        return None, f"{dtype} {shorten(str(shape), 40)} in {end - begin:,} bytes; want {(bits + 7) // 8:,}"
    return Tensor(name, dtype, tuple(shape), path, data + begin, data + end), ""  # type: ignore[arg-type]


def _naturals(value: object) -> bool:
    """Tell whether a value is a list of numbers that can count bytes of a file."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def _layout(tensors: list[Tensor], where: str, data: int, size: int) -> Iterator[Finding]:
    """Yield what is wrong with the places of all tensors: overlaps, gaps, a file that is too short or too long."""
    position = data
    overlaps, gaps = [], []
    for tensor in tensors:
        if tensor.begin < position:
            overlaps.append(shorten(tensor.name))
        elif tensor.begin > position:
            gaps.append(shorten(tensor.name))
        position = max(position, tensor.end)
    if overlaps:
        yield found("offsets-overlap", where, f"{some(overlaps)}: begins inside another tensor", "bytes of its own")
    if gaps:
        yield found("offsets-gap", where, f"before {some(gaps)}: bytes of no tensor", "tensors one after another")
    if position > size:
        lost = [shorten(tensor.name) for tensor in tensors if tensor.end > size]
        saw = f"{size:,} of {position:,} bytes; {some(lost)} cut off"
        yield found("file-truncated", where, saw, "the whole file")
    elif position < size:
        saw = f"{size - position:,} bytes after the last tensor"
        yield found("file-trailing", where, saw, "a file that ends with its last tensor")
