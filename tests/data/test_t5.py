"""Embeddings are read as written, and a pickle that would run something is refused without running it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tao_runtime.data.numpy_pickle import UnsafePickleError, read_arrays
from tao_runtime.data.t5 import EmbeddingError, caption_hash, find_embedding, padded, read_embedding, write_embedding

VALUES = np.random.default_rng(0).standard_normal((7, 1024)).astype(np.float16)


class Evil:
    """What an attacker pickles."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pickle_of_arrays_is_read_in_every_protocol(protocol: int, order: str) -> None:
    values = np.asarray(VALUES, order=order)  # type: ignore[call-overload]
    (got,) = read_arrays(pickle.dumps([values], protocol=protocol))
    assert got.dtype == np.float16 and np.array_equal(got, VALUES)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: [VALUES, evil], lambda evil: np.array([evil])])
def test_a_pickle_that_runs_something_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, wrap: object
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps(wrap(Evil()), protocol=protocol))  # type: ignore[operator]
    with pytest.raises(EmbeddingError, match=r"more than arrays: it names posix\.system") as caught:
        read_embedding(path)
    assert caught.value.unsafe and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle",
        pickle.dumps({"a": 1}),
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93K\x05\x85R.",
        pickle.dumps(np.array(["text"])),
        pickle.dumps(VALUES)[:-20],
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(UnsafePickleError):
        read_arrays(data)


def test_the_safe_format_round_trips_and_says_its_caption(tmp_path: Path) -> None:
    write_embedding(tmp_path / "a.safetensors", VALUES, caption=" a robot \n")
    (tmp_path / "a.pickle").write_bytes(pickle.dumps([VALUES]))
    path = find_embedding(tmp_path, "a")
    assert path is not None and path.suffix == ".safetensors"
    got = read_embedding(path)
    assert np.array_equal(got.values, VALUES) and got.caption_sha256 == caption_hash("a robot")
    assert read_embedding(tmp_path / "a.pickle").caption_sha256 is None
    assert padded(got.values).shape == (512, 1024) and not padded(got.values)[7:].any()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((513, 1024), np.float16), r"shape \[513, 1024\]"),
        (np.zeros((4, 512), np.float16), r"shape \[4, 512\]"),
        (np.zeros((0, 1024), np.float16), r"shape \[0, 1024\]"),
        (np.zeros((4, 1024), np.float32), "type float32; want float16"),
        (np.full((4, 1024), np.inf, np.float16), "not finite"),
    ],
)
def test_a_wrong_array_is_named(tmp_path: Path, values: np.ndarray, words: str) -> None:
    path = tmp_path / "a.pickle"
    path.write_bytes(pickle.dumps([values]))
    with pytest.raises(EmbeddingError, match=words):
        read_embedding(path)
