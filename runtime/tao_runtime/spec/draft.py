"""A spec in the making: values by key, from the file and then from the command line, and everything wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from tao_runtime.errors import Finding, FindingsError, InputError
from tao_runtime.spec import messages
from tao_runtime.spec.base import Spec
from tao_runtime.spec.keys import Place, find, iter_tables
from tao_runtime.spec.scalar import YamlError, parse_value
from tao_runtime.spec.source import Entry, flatten
from tao_runtime.spec.variables import look_up, replace_inside, whole_variable

MISSING = "???"


@dataclass
class Draft:
    """Collects entries; `finish` validates them together."""

    spec: type[Spec]
    file: str
    entries: dict[str, Entry] = field(default_factory=dict)  # by real key; a table itself only if {} or null
    findings: list[Finding] = field(default_factory=list)
    _unknown: set[str] = field(default_factory=set)
    _preset: Mapping[str, str] = field(default_factory=dict)  # variables that upstream's launchers set

    def add(self, entry: Entry) -> None:
        """Take a key of the file; a second one of the same meaning is a finding."""
        place = self._find(entry)
        if place is None:
            return
        key = _full(place)
        other = self._clash(key, entry)
        if other is not None:
            self.findings.append(messages.given_twice(key, (other, entry), file=self.file))
        else:
            self.entries[key] = entry

    def _clash(self, key: str, entry: Entry) -> Entry | None:
        """The entry that says something else about the same key: itself, or a table and a key in it."""
        for name, other in self.entries.items():
            below = name.startswith(key + ".") and entry.value != {}
            above = key.startswith(name + ".") and other.value != {}
            if name == key or below or above:
                return other
        return None

    def override(self, entry: Entry) -> None:
        """Take a key of the command line; it replaces what was there. A table is merged, null switches it off."""
        place = self._find(entry)
        if place is None:
            return
        value = _read_raw(entry, place)
        if isinstance(value, dict) and value and place.inner is None:
            for item in flatten(value, entry.key + "."):
                self.override(replace(item, from_command=True))
            return
        key = _full(place)
        if place.inner and place.path in self.spec.opaque:
            self._into(place, value, entry)
            return
        if value != {}:
            self.entries = {name: old for name, old in self.entries.items() if not name.startswith(key + ".")}
        for at, letter in enumerate(key):
            if letter == ".":  # a table that was switched off is on again
                self.entries.pop(key[:at], None)
        self.entries[key] = replace(entry, value=value)

    def _into(self, place: Place, value: object, entry: Entry) -> None:
        """Set one value inside a table that is the user's own."""
        old = self.entries.get(place.path)
        tree = deepcopy(old.value) if old is not None and isinstance(old.value, dict) else {}
        _set(tree, (place.inner or "").split("."), value)
        self.entries[place.path] = replace(entry, value=tree, raw=None)

    def _find(self, entry: Entry) -> Place | None:
        real = real_key(entry.key, self.spec.aliases)
        place = find(self.spec, real)
        if place.unknown is None:
            return place
        shown = entry.key if place.unknown == real else place.unknown
        if place.unknown not in self._unknown:
            self._unknown.add(place.unknown)
            self.findings.append(messages.unknown_key(self.spec, entry, shown, file=self.file))
        return None

    def finish(self) -> Spec:
        """Resolve variables, validate, and return the spec or raise every finding."""
        if self.spec.missing_falls_through:
            self.entries = {key: entry for key, entry in self.entries.items() if not _is_missing(entry.value)}
        given = {key: entry.value for key, entry in self.entries.items()}
        self._preset = self.spec.variables(given)
        for key, value in self.spec.complete(given).items():
            self.entries[key] = Entry(key, value)
        resolved = {key: self._resolve(key, entry) for key, entry in self.entries.items()}
        self.entries = resolved
        try:
            spec = self.spec.model_validate(self._tree())
        except ValidationError as error:
            known = {finding.where for finding in self.findings}
            invalid = messages.invalid_values(self.spec, error, self.entries, file=self.file)
            found = [*self.findings, *(item for item in invalid if item.where not in known)]
            raise FindingsError(found, family=self.spec.family, action=self.spec.action) from None
        if self.findings:
            raise FindingsError(self.findings, family=self.spec.family, action=self.spec.action)
        return spec

    def _resolve(self, key: str, entry: Entry) -> Entry:
        value, report = entry.value, self.findings.append
        if key in self.spec.opaque:
            return entry
        if _is_missing(value):
            report(messages.missing_value(entry, file=self.file))
            return entry
        variable = whole_variable(value)
        if variable is None:
            return replace(
                entry, value=replace_inside(value, entry, file=self.file, report=report, preset=self._preset)
            )
        text = look_up(variable, entry, file=self.file, report=report, preset=self._preset)
        if text is None:
            return entry
        return replace(entry, value=_read_raw(replace(entry, raw=text), find(self.spec, key)))

    def _tree(self) -> dict[str, Any]:
        """Nest the values. Tables that are always there are always made, so that a missing key is named in full."""
        tree: dict[str, Any] = {}
        for item in iter_tables(self.spec):
            if not item.optional:
                _set(tree, item.path.split("."), {})
        for key, entry in self.entries.items():
            place = find(self.spec, key)
            names = place.path.split(".") + ([place.inner] if place.inner else [])
            _set(tree, names, entry.value)
        return tree


def _is_missing(value: object) -> bool:
    return isinstance(value, str) and value.strip() == MISSING


def _set(tree: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        inner = tree.get(name)
        tree[name] = inner if isinstance(inner, dict) else {}
        tree = tree[name]
    if not (value == {} and isinstance(tree.get(names[-1]), dict)):
        tree[names[-1]] = value


def _full(place: Place) -> str:
    return place.path + (f".{place.inner}" if place.inner else "")


def real_key(key: str, aliases: Mapping[str, str]) -> str:
    """Return the key under its real name: an alias that it is, or starts with, is replaced."""
    for alias in sorted(aliases, key=len, reverse=True):
        if key == alias and aliases[alias]:
            return aliases[alias]
        if key.startswith(alias + "."):
            return ".".join(filter(None, (aliases[alias], key.removeprefix(alias + "."))))
    return key


def _read_raw(entry: Entry, place: Place) -> Any:
    """Return the first reading of a text that the key takes: as YAML, or as it stands. Raises InputError if broken."""
    if entry.raw is None:
        return entry.value
    takes = place.key.accepts if place.key and place.inner is None else None
    try:
        parsed = parse_value(entry.raw)
    except YamlError as problem:
        if takes and takes(entry.raw):
            return entry.raw
        raise InputError(f"{entry.key}={entry.raw}: {problem}; want a YAML value") from None
    return entry.raw if takes and not takes(parsed) and takes(entry.raw) else parsed
