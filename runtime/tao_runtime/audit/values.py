"""Reading tensors for what only their bytes tell: a sha256, NaN and infinity, zeros, rows of zeros.

Every file is read once and in order, by a few threads: hashing and numpy run beside Python. Nothing is mapped into
memory, so a file that shrinks meanwhile is a short read and not a crash.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tao_runtime.audit.header import Tensor

CHUNK: Final = 1 << 20  # bytes: stays in a core's cache between hashing and looking
MAX_ROW_BYTES: Final = 64 << 20
THREADS: Final = min(4, os.cpu_count() or 1)

Progress = Callable[[int, int], None]  # bytes done, bytes in all
# The bits of a number without its sign, and the smallest of them that is no finite number.
_LIMITS: Final[Mapping[str, tuple[type[np.unsignedinteger], int, int]]] = {
    "F64": (np.uint64, (1 << 63) - 1, 0x7FF << 52),
    "F32": (np.uint32, (1 << 31) - 1, 0x7F800000),
    "F16": (np.uint16, 0x7FFF, 0x7C00),
    "BF16": (np.uint16, 0x7FFF, 0x7F80),
    "F8_E5M2": (np.uint8, 0x7F, 0x7C),
    "F8_E4M3": (np.uint8, 0x7F, 0x7F),
}  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Values:
    """What the bytes of a tensor tell."""

    sha256: str = ""
    is_finite: bool = True
    is_zero: bool = True  # every element; a tensor without elements too
    rows: npt.NDArray[np.bool_] | None = None  # [shape[0]] true: the row has an element that is not zero
    problem: str | None = None  # it could not be read to its end


def read_values(
    tensors: Iterable[Tensor], *, rows: bool = False, sha256: bool = True, progress: Progress | None = None
) -> dict[str, Values]:
    """Read tensors, in the order of their bytes, and return what was seen by name."""
    ordered = sorted(tensors, key=lambda tensor: (str(tensor.file), tensor.begin))
    count = _Counter(sum(tensor.num_bytes for tensor in ordered), progress)
    pool = ThreadPoolExecutor(THREADS)
    try:
        seen = list(pool.map(lambda tensor: _look(tensor, rows, sha256, count.add), ordered))
    finally:
        pool.shutdown(cancel_futures=True)
    return {tensor.name: values for tensor, values in zip(ordered, seen, strict=True)}


class _Counter:
    """Adds up bytes from several threads."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self.progress = 0, total, progress
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if self.progress is not None:
            with self._lock:
                self.done += count
                self.progress(self.done, self.total)


def _look(tensor: Tensor, rows: bool, sha256: bool, done: Callable[[int], None]) -> Values:
    digest = hashlib.sha256() if sha256 else None
    number, mask, limit = _LIMITS.get(tensor.dtype, (np.uint8, 0xFF, 0x100))
    row_bytes, rest = divmod(tensor.num_bytes, tensor.shape[0]) if rows and tensor.shape and tensor.size else (0, 0)
    # A row of types smaller than a byte may end inside one; a row of gigabytes is no row of an adapter.
    by_row = len(tensor.shape) > 1 and rest == 0 and 0 < row_bytes <= MAX_ROW_BYTES
    row_bytes = row_bytes if by_row else 1
    step = max(1, CHUNK // row_bytes) * row_bytes
    buffer = bytearray(min(step, tensor.num_bytes))
    alive: list[npt.NDArray[np.bool_]] = []
    finite, zero, position = True, True, 0
    try:
        with tensor.file.open("rb", buffering=0) as file:
            file.seek(tensor.begin)
            while position < tensor.num_bytes:
                part = memoryview(buffer)[: min(step, tensor.num_bytes - position)]
                if not _fill(file.readinto, part):
                    return Values(problem=f"ends {tensor.num_bytes - position:,} bytes early")
                if digest is not None:
                    digest.update(part)
                if limit <= mask or zero or by_row:
                    bits = np.frombuffer(part, number) & number(mask)
                    largest = int(bits.max())
                    finite, zero = finite and largest < limit, zero and largest == 0
                    if by_row:
                        alive.append(bits.reshape(len(part) // row_bytes, -1).any(axis=1))
                position += len(part)
                done(len(part))
    except OSError as error:
        return Values(problem=error.strerror or str(error))
    joined = np.concatenate(alive) if alive else None
    return Values(digest.hexdigest() if digest is not None else "", finite, zero, joined)


def _fill(read: Callable[[memoryview], int | None], part: memoryview) -> bool:
    """Fill a buffer; false if the file ends first. One system call may give less than it was asked for."""
    position = 0
    while position < len(part):
        count = read(part[position:])
        if not count:
            return False
        position += count
    return True
