"""Media of two data sets that hold the same bytes under other names: only files of equal size are read.

Pictures that lie in the rows of a file were read when they were probed, and their headers say what they hold.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

from tao_runtime.data.facts import DatasetFacts

PIECE_BYTES: Final = 1 << 16
NUM_PIECES: Final = 16  # 1 MiB of a file at most; a smaller file is read whole


def same_content(datasets: Iterable[DatasetFacts]) -> tuple[tuple[Path, ...], ...]:
    """Return groups of files with equal bytes that lie in more than one data set, the same file not counted.

    Reads at most 1 MiB of a file, in pieces from its start to its end. Compressed media of equal length that agree in
    all of them are copies.
    """
    by_size: dict[int, dict[Path, set[str]]] = defaultdict(dict)
    known: dict[Path, bytes] = {}
    for data in datasets:
        for header in data.media:
            if header is not None:
                by_size[header.size_bytes].setdefault(header.path, set()).add(data.label)
                if header.content:
                    known[header.path] = bytes.fromhex(header.content)
    found: list[list[Path]] = []
    for size, files in by_size.items():
        # Pictures without compression are all of one size: a small piece parts most of them before more is read.
        coarse = [list(files)] if known.keys() & files.keys() else _alike(files, list(files), size, pieces=1)
        for alike in coarse:
            found += _alike(files, alike, size, known=known)
    return tuple(sorted(tuple(sorted(paths)) for paths in found))


def _alike(
    labels: Mapping[Path, set[str]],
    paths: list[Path],
    size: int,
    *,
    pieces: int = NUM_PIECES,
    known: Mapping[Path, bytes] = MappingProxyType({}),
) -> list[list[Path]]:
    """Return the groups of paths with one digest that are in several data sets."""
    if len(paths) < 2 or len(set().union(*(labels[path] for path in paths))) < 2:
        return []
    groups: dict[bytes, list[Path]] = defaultdict(list)
    for path in paths:
        found = known[path] if path in known else content_digest(path, size, pieces=pieces)
        if found is not None:
            groups[found].append(path)
    return [each for each in groups.values() if len(each) > 1 and len(set().union(*(labels[p] for p in each))) > 1]


def content_digest(path: Path, size: int, *, pieces: int = NUM_PIECES) -> bytes | None:
    """Return a hash of pieces spread evenly over a file, None if it cannot be read. One piece: from its middle."""
    try:
        with path.open("rb") as file:
            return _digest(file, size, pieces)
    except OSError:
        return None


def digest_of(data: bytes) -> str:
    """Return the hash that a file of these bytes has, for a header to keep."""
    return _digest(BytesIO(data), len(data), NUM_PIECES).hex()


def _digest(file: BinaryIO, size: int, pieces: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    if pieces == 1:
        file.seek(max(0, size // 2 - PIECE_BYTES // 32))
        digest.update(file.read(PIECE_BYTES // 16))
    elif size <= PIECE_BYTES * pieces:
        digest.update(file.read())
    else:
        for number in range(pieces):
            file.seek((size - PIECE_BYTES) * number // (pieces - 1))
            digest.update(file.read(PIECE_BYTES))
    return digest.digest()
