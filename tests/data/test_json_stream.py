"""The stream yields what json.loads yields, at exact byte places, and names the place of every mistake."""

import hashlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tao_runtime.data.json_stream import iter_array
from tao_runtime.errors import InputError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("ascii_only", [True, False])
@settings(max_examples=60, deadline=None)
@given(values=st.lists(JSON, max_size=8), indent=st.sampled_from([None, 1]))
def test_equals_json_loads_for_any_window(tmp_path_factory, chunk, ascii_only, values, indent) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    raw = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    path.write_bytes(raw)
    try:
        raw.decode()
    except UnicodeDecodeError:
        return  # a lone surrogate is not UTF-8
    seen = list(iter_array(path, chunk_bytes=chunk))
    assert [value for *_, value in seen] == values
    assert [json.loads(raw[offset : offset + size]) for _, offset, size, _ in seen] == values


def test_numbers_cut_by_the_window(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    values = [random.Random(0).uniform(-1e300, 1e300) for _ in range(50)]
    path.write_text(json.dumps(values))
    for chunk in range(1, 40):
        assert [value for *_, value in iter_array(path, chunk_bytes=chunk)] == values


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_lines(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes('\ufeff{"a": "é"}\n\n{"b": 2}\r\n{}'.encode())
    assert list(iter_array(path)) == [(0, 3, 11, {"a": "é"}), (1, 16, 8, {"b": 2}), (2, 26, 2, {})]


def test_single_line_file_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"a": 1}')
    assert [value for *_, value in iter_array(path)] == [{"a": 1}]


def test_on_bytes_sees_the_file_once(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"t": "ü" * 100}] * 50, ensure_ascii=False))
    digest = hashlib.sha256()
    list(iter_array(path, on_bytes=digest.update, chunk_bytes=33))
    assert digest.digest() == hashlib.sha256(path.read_bytes()).digest()


BAD = {
    "empty": (b"", ":1:1: the file is empty"),
    "blank": (b" \n ", ":1:1: the file is empty"),
    "object": (b'{"annotations": []}', ":1:1: the top level is an object; want a JSON array"),
    "string": (b'"x"', ":1:1: the top level is a string"),
    "null": (b"null", ":1:1: the top level is null"),
    "truncated array": (b'[{"a": 1},\n{"b": 2}', ":2:9: the file ends after element 1: truncated; want ',' or ']'"),
    "truncated value": (b'[{"a": 1},\n{"b": ', "truncated"),
    "open string": (b'[{"a": "x}]', ":1:8: a string that is never closed"),
    "trailing comma": (b"[1,]", ":1:4: expecting value, at ']'"),
    "no comma": (b'[{"a": 1}\n {"b": 2}]', ":2:2: '{' after element 0; want ',' or ']'"),
    "after the end": (b"[1] x", ":1:5: 'x' after the end of the array"),
    "not json": (b"\n  hello", ":2:3: expecting value, at 'hello'"),
    "nan": (b'[{"video_fps": NaN}]', ":1:2: the value that starts here is refused: NaN is not JSON"),
    "infinity": (b"[-Infinity]", "-Infinity is not JSON"),
    "not utf-8": (b'["\xff\xfe"]', "bytes that are not UTF-8"),
    "cut utf-8": (b'["\xc3', "not UTF-8"),
    "utf-16": ("[1]".encode("utf-16"), "UTF-16; want UTF-8"),
    "huge number": (b"[" + b"9" * 5000 + b"]", "refused"),
    "deep": (b"[" * 200_000, "nested too deeply"),
    "two on a line": (b'{"a":1} {"b":2}', ":1:9: '{' after record 0 on the same line; want one record per line"),
    "column in characters": ('["éé" x]'.encode(), ":1:7: 'x' after element 0"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("chunk", [2, 5, 1 << 20])
def test_bad_file_names_the_place(tmp_path: Path, case: str, chunk: int) -> None:
    if case == "deep" and chunk < 1000:
        pytest.skip("one byte at a time through 200,000 brackets is slow")
    raw, words = BAD[case]
    path = tmp_path / "bad.json"
    path.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        list(iter_array(path, chunk_bytes=chunk))
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_missing_file_and_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            list(iter_array(path))
