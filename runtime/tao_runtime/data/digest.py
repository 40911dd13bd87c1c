"""A cheap digest of a snapshot's weights: headers, sizes, and a few pieces of every tensor. Not every byte is read."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from pathlib import Path

PIECE = 4096  # bytes; three of each tensor: 8B parameters in 750 tensors -> 9 MB


def weights_digest(directory: Path, files: Iterable[str]) -> str | None:
    """Return a sha256 that changes with names, shapes and types of tensors, and with weights as training changes them.

    A change of single numbers between the pieces is not seen: for that, compare files. None: a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for name in sorted(files):
            _add(digest, directory / name)
    except (OSError, ValueError, struct.error, AttributeError, KeyError, TypeError, IndexError, RecursionError):
        return None
    return digest.hexdigest()


def _add(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        if length > path.stat().st_size:
            raise ValueError(length)
        header = file.read(length)
        digest.update(header)
        tensors = [value["data_offsets"] for name, value in json.loads(header).items() if name != "__metadata__"]
        for begin, end in sorted((int(begin), int(end)) for begin, end in tensors):
            # Not the first one: rows of embeddings that are never used are alike in every tuned model.
            for place in {begin + (end - begin) * part // 4 for part in (1, 2, 3)}:
                file.seek(8 + length + place)
                digest.update(file.read(min(PIECE, end - place)))


SMALL = (".json", ".jinja", ".txt", ".model")  # configurations, tokenizers, prompt templates
MAX_SMALL_BYTES, MAX_FILES = 64 << 20, 1000


def settings_digest(directory: Path) -> str:
    """Return a digest of all that a snapshot holds beside its weights, in its parts too: names and bytes."""
    digest = hashlib.blake2b(digest_size=32)  # three times as fast as sha256 where the processor has no help for it
    # A pipeline's parts are folders; deeper, and beyond so many files, lies no model but somebody's whole disk.
    found = sorted(path for depth in ("*", "*/*") for path in directory.glob(depth) if path.suffix in SMALL)
    for path in filter(Path.is_file, found[:MAX_FILES]):
        try:
            data = path.read_bytes() if path.stat().st_size <= MAX_SMALL_BYTES else b""
        except OSError:
            data = b"unreadable"
        digest.update(f"{path.relative_to(directory)}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def pieces_digest(paths: Iterable[Path]) -> str:
    """Return a sha256 of names, sizes and pieces of files whatever is in them: four kilobytes of every 16 megabytes."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            for place in range(0, size, 1 << 24):
                file.seek(place)
                digest.update(file.read(PIECE))
    return digest.hexdigest()
