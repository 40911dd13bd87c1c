"""Precomputed caption embeddings: one file per clip, [tokens, 1024] float16, read without running what is in it."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tao_runtime.data.numpy_pickle import UnsafePickleError, read_arrays
from tao_runtime.data.paths import is_file

MAX_TOKENS: Final = 512
WIDTH: Final = 1024
TENSOR: Final = "t5_xxl"
# In the metadata: which text was embedded, by which encoder (its name, and the digest of its weights), from which file.
CAPTION_KEY: Final = "caption_sha256"
ENCODER_KEY, ENCODER_HASH_KEY, SOURCE_KEY = "encoder", "encoder_sha256", "converted_from"
SUFFIXES: Final = (".safetensors", ".pickle")  # in this order of preference
_MAX_HEADER: Final = 1 << 20


class EmbeddingError(ValueError):
    """The file is not an embedding; says what was seen. `unsafe`: it would have run something."""

    def __init__(self, message: str, *, unsafe: bool = False) -> None:
        self.unsafe = unsafe
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Embedding:
    """What a file holds."""

    values: npt.NDArray[np.float16]  # [tokens, 1024]
    caption_sha256: str | None  # None: the file does not say
    encoder: Encoder | None = None
    source: str | None = None  # name of the file that it was converted from


@dataclass(frozen=True, slots=True)
class Encoder:
    """Whose states they are."""

    name: str  # hub id or folder, as it was given
    sha256: str | None  # of its weights; None: not known

    def is_same(self, other: Encoder) -> bool:
        """By weights where both are known: the same encoder lies in many places."""
        if self.sha256 is not None and other.sha256 is not None:
            return self.sha256 == other.sha256
        return self.name == other.name


def caption_hash(text: str) -> str:
    """Return what an embedding file says of the caption it was made from."""
    return hashlib.sha256(text.strip().encode()).hexdigest()


def find_embedding(folder: Path, stem: str) -> Path | None:
    """Return the embedding file of a clip, the safe format first."""
    return next((path for suffix in SUFFIXES if is_file(path := folder / f"{stem}{suffix}")), None)


def read_embedding(path: Path) -> Embedding:
    """Read an embedding. Raises EmbeddingError for a wrong shape or type, or for a pickle that is more than arrays."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EmbeddingError(error.strerror or str(error)) from None
    if path.suffix == ".safetensors":
        values, metadata = _safetensors(data)
    else:
        values, metadata = _pickle(data), {}
    check_embedding(values := _flat(values))
    name = metadata.get(ENCODER_KEY)
    encoder = Encoder(name, metadata.get(ENCODER_HASH_KEY)) if name else None
    return Embedding(values, metadata.get(CAPTION_KEY), encoder, metadata.get(SOURCE_KEY))


def _flat(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values[0] if values.ndim == 3 and values.shape[0] == 1 else values


def check_embedding(values: npt.NDArray[Any]) -> None:
    """Raise EmbeddingError for what is no embedding."""
    if values.ndim != 2 or values.shape[1] != WIDTH or not 0 < values.shape[0] <= MAX_TOKENS:
        raise EmbeddingError(f"shape {list(values.shape)}; want [1 to {MAX_TOKENS}, {WIDTH}]")
    if values.dtype != np.float16:
        raise EmbeddingError(f"type {values.dtype}; want float16")
    if not np.isfinite(values).all():
        raise EmbeddingError("values that are not finite; want finite numbers")


def write_embedding(
    path: Path,
    values: npt.NDArray[np.float16],
    *,
    caption: str,
    encoder: Encoder | None = None,
    source: str | None = None,
) -> None:
    """Write an embedding with the hash of its caption and whose it is, whole or not at all."""
    values = np.ascontiguousarray(values, dtype=np.float16)
    given = {
        CAPTION_KEY: caption_hash(caption),
        ENCODER_KEY: encoder.name if encoder else None,
        ENCODER_HASH_KEY: encoder.sha256 if encoder else None,
        SOURCE_KEY: source,
    }
    metadata = {name: value for name, value in given.items() if value is not None}
    tensor = {"dtype": "F16", "shape": list(values.shape), "data_offsets": [0, values.nbytes]}
    header = json.dumps({"__metadata__": metadata, TENSOR: tensor}).encode()
    header += b" " * (-len(header) % 8)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(struct.pack("<Q", len(header)) + header + values.tobytes())
    temporary.replace(path)


def padded(values: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    """Return [512, 1024]: the tokens, then zeros, as training and pipelines give it to the network."""
    out = np.zeros((MAX_TOKENS, WIDTH), np.float16)
    out[: len(values)] = values
    return out


def _safetensors(data: bytes) -> tuple[npt.NDArray[Any], dict[str, str]]:
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > _MAX_HEADER:
            raise EmbeddingError("not a safetensors file")
        header = json.loads(data[8 : 8 + length])
        metadata = {str(name): str(value) for name, value in header.pop("__metadata__", {}).items()}
        (tensor,) = header.values()
        first, last = tensor["data_offsets"]
        dtype = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[tensor["dtype"]]
        raw = data[8 + length + first : 8 + length + last]
        return np.frombuffer(raw, dtype=dtype).reshape(tensor["shape"]), metadata
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, EmbeddingError):
            raise
        raise EmbeddingError("not a safetensors file with one tensor of numbers") from None


def _pickle(data: bytes) -> npt.NDArray[Any]:
    try:
        arrays = read_arrays(data)
    except UnsafePickleError as error:
        raise EmbeddingError(f"a pickle that is more than arrays: {error}", unsafe=True) from None
    if len(arrays) != 1:
        raise EmbeddingError(f"{len(arrays)} arrays; want one")
    return arrays[0]
