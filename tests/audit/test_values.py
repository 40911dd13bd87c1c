"""Bytes of tensors are read right: digests, NaN and infinity of every type, zeros, rows; a short file is no crash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tao_runtime.audit.header import Tensor
from tao_runtime.audit.values import CHUNK, read_values


def stored(path: Path, value: np.ndarray, dtype: str) -> Tensor:
    path.write_bytes(b"12345678" + value.tobytes())
    return Tensor("w", dtype, value.shape, path, 8, 8 + value.nbytes)


def as_bits(value: float, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        return (np.array([value], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return np.array([value], {"F64": np.float64, "F32": np.float32, "F16": np.float16}[dtype])


@pytest.mark.parametrize("dtype", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -65504.0, float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none(dtype: str, value: float, tmp_path: Path) -> None:
    data = np.concatenate([as_bits(0.0, dtype)] * 5 + [as_bits(value, dtype)])
    (seen,) = read_values([stored(tmp_path / "w", data, dtype)]).values()
    assert seen.is_finite == np.isfinite(value) and seen.is_zero == (value == 0)


@pytest.mark.parametrize(("dtype", "limit"), [("F8_E4M3", 0x7F), ("F8_E5M2", 0x7C), ("U8", 256), ("I8", 256)])
def test_numbers_of_one_byte(dtype: str, limit: int, tmp_path: Path) -> None:
    """float8_e4m3fn has NaN only at 0x7f and 0xff; float8_e5m2 has infinity at 0x7c and NaN above; integers none."""
    for byte in range(256):
        (seen,) = read_values([stored(tmp_path / "w", np.array([1, byte], np.uint8), dtype)]).values()
        assert seen.is_finite == ((byte & 0x7F) < limit)


@pytest.mark.parametrize("shape", [(3, 5), (7, CHUNK // 4 + 1), (2 * CHUNK // 64 + 3, 16), (0, 4), (5, 0), (4,), ()])
def test_digests_and_rows_do_not_depend_on_chunks(shape: tuple[int, ...], tmp_path: Path) -> None:
    value = np.ones(shape, np.float32)
    if value.size > 4 and value.ndim > 1:
        value[1:3] = 0
        value[-1, -1] = np.nan
    (seen,) = read_values([stored(tmp_path / "w", value, "F32")], rows=True).values()
    assert seen.sha256 == hashlib.sha256(value.tobytes()).hexdigest()
    assert seen.is_finite == bool(np.isfinite(value).all())
    if value.ndim > 1 and value.size:
        assert seen.rows is not None and (seen.rows == value.any(axis=1)).all()


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    value = np.ones(3 * CHUNK // 4, np.float32)
    read_values([stored(tmp_path / "w", value, "F32")], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (value.nbytes, value.nbytes) and len(seen) == 3


def test_a_file_that_has_shrunk_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    tensor = stored(tmp_path / "w", np.ones(100, np.float32), "F32")
    (tmp_path / "w").write_bytes(b"short")
    assert "early" in (read_values([tensor])["w"].problem or "")
    (tmp_path / "w").unlink()
    assert read_values([tensor])["w"].problem == "No such file or directory"
