"""Files that cannot be read end with file and line, and all formats say where a key stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from specs import refused, write
from tao_runtime.errors import InputError
from tao_runtime.spec.load import load_spec
from tao_runtime.spec.source import read_source

UNREADABLE = {
    "empty.yaml": ("", ": the file is empty"),
    "list.yaml": ("[1, 2]", ":1: the top level is not a table"),
    "text.yaml": ("hello", ":1: the top level is not a table"),
    "open.yaml": ("a: 1\nb: [1", ":2: expected ',' or ']'"),
    "tab.yaml": ("a: 1\n\tb: 2", ":2: found character '\\t'"),
    "tag.yaml": ("a: !!python/object/apply:os.getcwd []", ":1: tag"),
    "loop.yaml": ("a: &x [*x]", ":1: a value that contains itself"),
    "bomb.yaml": ("a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
    ), ":1: more than 100,000 values"),
    "key.yaml": ("? [1]\n: 2", ":1: a key that is not a text"),
    "bad.toml": ("a = 1\nb = ", ":2: Invalid value"),
    "twice.toml": ("[train]\nepoch = 1\nepoch = 2\n", ":3: Cannot overwrite a value"),
    "bad.json": ('{"a": 1,\n "b": }', ":2: Expecting value"),
    "list.json": ("[]", ":1: the top level is not a table"),
    "deep.json": ("[" * 100_000, ": nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable(tmp_path: Path, name: str) -> None:
    text, message = UNREADABLE[name]
    path = write(tmp_path, text, name)
    with pytest.raises(InputError) as caught:
        load_spec(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_missing_directory_and_binary(tmp_path: Path) -> None:
    (tmp_path / "clip.yaml").write_bytes(b"a: 1\n\xff\xfe")
    for path, message in ((tmp_path / "no.yaml", "No such file"), (tmp_path, "directory")):
        with pytest.raises(InputError, match=message):
            load_spec(path)
    with pytest.raises(InputError, match=r"clip.yaml:2: not UTF-8 text"):
        load_spec(tmp_path / "clip.yaml")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("spec.yaml", "results_dir: o\n\ntrain:\n  epoch: x\n"),
        ("spec.toml", 'results_dir = "o"\n\n[train]\nepoch = "x"\n'),
        ("flat.toml", 'results_dir = "o"\n# a = 1\n\ntrain.epoch = "x"\n'),
        ("spec.json", '{"results_dir": "o",\n\n\t"train": {\n\t"epoch": "x"}}\n'),
    ],
)
def test_lines(tmp_path: Path, name: str, text: str) -> None:
    (finding,) = [item for item in refused(write(tmp_path, text, name)) if item.where == "train.epoch"]
    assert finding.pointer == "line 4"


def test_json_values_are_those_of_json(tmp_path: Path) -> None:
    path = write(tmp_path, '{"custom_script": "\\ud83d\\ude00 \\/", "redis": "' + "k" * 3000 + '"}', "spec.json")
    values = {entry.key: entry.value for entry in read_source(path).entries}
    assert values == {"custom_script": "\U0001f600 /", "redis": "k" * 3000}


def test_merge_keys_give_what_is_not_given(tmp_path: Path) -> None:
    path = write(tmp_path, "train: &base {epoch: 1, compile: true}\nother: {<<: *base, epoch: 2}\n")
    values = {entry.key: entry.value for entry in read_source(path).entries}
    assert (values["other.epoch"], values["other.compile"]) == (2, True)
