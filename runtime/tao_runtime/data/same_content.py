"""Media files of two data sets that hold the same bytes under other names: only files of equal size are read."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tao_runtime.data.facts import DatasetFacts

PIECE_BYTES: Final = 1 << 16
NUM_PIECES: Final = 16  # 1 MiB of a file at most; a smaller file is read whole


def same_content(datasets: Iterable[DatasetFacts]) -> tuple[tuple[Path, ...], ...]:
    """Return groups of files with equal bytes that lie in more than one data set, the same file not counted.

    Reads at most 1 MiB of a file, in pieces from its start to its end. Compressed media of equal length that agree in
    all of them are copies.
    """
    by_size: dict[int, dict[Path, set[str]]] = defaultdict(dict)
    for data in datasets:
        for header in data.media:
            if header is not None:
                by_size[header.size_bytes].setdefault(header.path, set()).add(data.label)
    found: list[tuple[Path, ...]] = []
    for size, files in by_size.items():
        if len(files) < 2 or len(set().union(*files.values())) < 2:
            continue
        groups: dict[bytes, list[Path]] = defaultdict(list)
        for path in files:
            if (digest := content_digest(path, size)) is not None:
                groups[digest].append(path)
        for paths in groups.values():
            if len(paths) > 1 and len(set().union(*(files[path] for path in paths))) > 1:
                found.append(tuple(sorted(paths)))
    return tuple(sorted(found))


def content_digest(path: Path, size: int) -> bytes | None:
    """Return a hash of pieces spread evenly over a file, None if it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            if size <= PIECE_BYTES * NUM_PIECES:
                digest.update(file.read())
            else:
                for number in range(NUM_PIECES):
                    file.seek((size - PIECE_BYTES) * number // (NUM_PIECES - 1))
                    digest.update(file.read(PIECE_BYTES))
    except OSError:
        return None
    return digest.digest()
