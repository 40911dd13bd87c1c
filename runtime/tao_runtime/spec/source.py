"""Read a spec file (YAML, TOML or JSON) into entries: one per key, with the line it stands on."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tao_runtime.errors import InputError
from tao_runtime.spec.scalar import YamlError, compose, node_line, pairs, plain

MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A key with its value. `key` is dotted, as the user wrote it; an empty dict is a table without keys."""

    key: str
    value: object
    line: int | None = None  # from 1; None: not known
    raw: str | None = None  # text whose type the key decides: an override, a variable
    from_command: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Everything a spec file says. `duplicates`: key, and the lines on which it is given."""

    path: Path
    entries: tuple[Entry, ...]
    duplicates: tuple[tuple[str, tuple[int, ...]], ...] = ()
    tree: Mapping[str, object] = field(default_factory=dict)  # the same, nested as the user wrote it


def read_source(path: Path) -> Source:
    """Read a spec file. Raises InputError, with the line where there is one, if it cannot be read at all."""
    text = _read_text(path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty; want a spec")
    try:
        if path.suffix == ".toml":
            return _from_values(path, _parse_toml(path, text), _toml_lines(text))
        if path.suffix == ".json":
            return _read_json(path, text)
        return _from_nodes(path, text)
    except YamlError as problem:
        place = f"{path}:{problem.line}" if problem.line else f"{path}"
        raise InputError(f"{place}: {problem}; want a valid YAML file") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; want a spec") from None


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB; want a spec")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; want a spec file") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 text; want a spec file") from None


def _from_nodes(path: Path, text: str) -> Source:
    node = compose(text)
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path}:{node_line(node)}: the top level is not a table; want `key: value` lines")
    tree = plain(node)  # refuses what is too large, or contains itself, before anything walks it
    assert isinstance(tree, dict)
    duplicates: dict[str, list[int]] = {}
    entries = tuple(_walk_node(node, "", duplicates))
    return Source(path, entries, tuple((name, tuple(lines)) for name, lines in duplicates.items()), tree)


def _walk_node(node: yaml.MappingNode, prefix: str, duplicates: dict[str, list[int]]) -> Iterator[Entry]:
    seen: dict[str, int] = {}
    for name, line, value in pairs(node):
        key = prefix + name
        if name in seen:
            duplicates.setdefault(key, [seen[name]]).append(line)
            continue
        seen[name] = line
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _walk_node(value, key + ".", duplicates)
        else:
            yield Entry(key, plain(value), line)


def _read_json(path: Path, text: str) -> Source:
    """Values come from the JSON parser. Lines come from reading the text as YAML, which JSON is a part of."""
    duplicates: dict[str, list[int]] = {}

    def collect(items: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in items]
        for name in {name for name in names if names.count(name) > 1}:
            duplicates[name] = []
        return dict(items)

    try:
        tree = json.loads(text, object_pairs_hook=collect)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: {error.msg}; want a valid JSON file") from None
    try:
        source = _from_nodes(path, text.replace("\t", " "))
    except YamlError:  # a key too long for the YAML reader: the values are known, the lines are not
        return _from_values(path, tree, {}, tuple((name, ()) for name in duplicates))
    lines = {entry.key: entry.line for entry in source.entries if entry.line}
    return _from_values(path, tree, lines, source.duplicates)


def _from_values(
    path: Path, tree: object, lines: Mapping[str, int], duplicates: tuple[tuple[str, tuple[int, ...]], ...] = ()
) -> Source:
    if not isinstance(tree, dict):
        raise InputError(f"{path}:1: the top level is not a table; want keys and values")
    return Source(path, tuple(flatten(tree, lines=lines)), duplicates, tree)


def flatten(tree: Mapping[str, object], prefix: str = "", *, lines: Mapping[str, int] | None = None) -> Iterator[Entry]:
    """Yield the entries of nested tables."""
    for name, value in tree.items():
        key = prefix + name
        if isinstance(value, dict) and value:
            yield from flatten(value, key + ".", lines=lines)
        else:
            yield Entry(key, value, (lines or {}).get(key))


def _parse_toml(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        place = f"{path}:{found[1] if found else len(text.splitlines())}"
        message = re.sub(r" \(at .*\)$", "", str(error))
        raise InputError(f"{place}: {message}; want a valid TOML file") from None


_TOML_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
_TOML_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def _toml_lines(text: str) -> dict[str, int]:
    """Return the line of each key. Good enough to point at; values never come from here."""
    prefix = ""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _TOML_HEADER.match(line):
            prefix = _toml_name(found[1]) + "."
            lines.setdefault(prefix[:-1], number)
        elif found := _TOML_KEY.match(line):
            lines.setdefault(prefix + _toml_name(found[1]), number)
    return lines


def _toml_name(text: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in re.split(r"""\.(?=(?:[^"']|"[^"]*"|'[^']*')*$)""", text))
