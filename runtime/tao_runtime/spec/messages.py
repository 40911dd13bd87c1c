"""From what is wrong with a spec to findings: where, saw, want, fix, in the user's own key names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tao_runtime.errors import Finding, Fix
from tao_runtime.spec.base import Spec
from tao_runtime.spec.keys import KeyInfo, Place, find, iter_items, iter_keys, show
from tao_runtime.spec.scalar import parse_scalar
from tao_runtime.spec.source import Entry

_BOUNDS = (
    "greater_than",
    "less_than",
    "too_short",
    "too_long",
    "string_too_short",
    "string_pattern_mismatch",
    "finite_number",
    "missing",
)
_SPOKEN_BOOLS = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}


def unknown_key(spec: type[Spec], entry: Entry, unknown: str, *, file: str) -> Finding:
    """Report a key that does not exist, with the nearest one and the tables that have a key of its name."""
    table, _, name = unknown.rpartition(".")
    paths = [item.path for item in iter_items(spec)]
    siblings = [path for path in paths if path.rpartition(".")[0] == table] + ([] if table else list(spec.aliases))
    leaf = entry.key.rpartition(".")[2] if unknown == entry.key else name
    elsewhere = [path for path in paths if path.rpartition(".")[2] == leaf]
    near = difflib.get_close_matches(unknown, siblings, n=1, cutoff=0.75 if table else 0.6)
    if not near and not elsewhere:
        alike = difflib.get_close_matches(leaf, _leaves(paths), n=1)
        near = [path for path in paths if path.rpartition(".")[2] in alike]
    hints = list(dict.fromkeys([*elsewhere, *near]))[:3]
    return Finding(
        rule="spec/unknown-key",
        severity="error",
        where=unknown,
        saw="a key that does not exist",
        want=f"a key of {table or f'a {spec.action} spec'}",
        fix=Fix(text=f"use {' or '.join(hints)}" if hints else "remove it"),
        **_place(entry, file),
    )


def _leaves(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(path.rpartition(".")[2] for path in paths))


def given_twice(key: str, entries: Iterable[Entry], *, file: str) -> Finding:
    """Report a key that a file gives more than once, perhaps under two names."""
    entries = tuple(entries)
    saw = " and ".join(f"{entry.key}" + (f" (line {entry.line})" if entry.line else "") for entry in entries)
    return Finding(
        rule="spec/duplicate-key",
        severity="error",
        where=key,
        saw=f"given more than once: {saw}",
        want="one value",
        fix=Fix(text="keep one of them"),
        **_place(entries[-1], file),
    )


def missing_value(entry: Entry, *, file: str) -> Finding:
    """Report `???`, which marks a value that somebody still has to give."""
    return Finding(
        rule="spec/missing",
        severity="error",
        where=entry.key,
        saw="??? (no value yet)",
        want="a value",
        fix=Fix(text=f"set it in the file, or add {entry.key}=VALUE to the command"),
        **_place(entry, file),
    )


def invalid_values(
    spec: type[Spec], error: ValidationError, entries: dict[str, Entry], *, file: str
) -> tuple[Finding, ...]:
    """Turn what the types refused into one finding per key."""
    by_key: dict[str, list[ErrorDetails]] = {}
    places: dict[str, Place] = {}
    for detail in error.errors(include_url=False, include_context=False):
        place = _locate(spec, detail["loc"])
        by_key.setdefault(place.path, []).append(detail)
        places[place.path] = place
    return tuple(_invalid(places[path], details, entries, file) for path, details in by_key.items())


def _locate(spec: type[Spec], loc: tuple[int | str, ...]) -> Place:
    """Follow an error's location as far as it names keys; the rest names list items and alternatives of a type."""
    for length in range(len(loc), 0, -1):
        if all(isinstance(item, str) for item in loc[:length]):
            place = find(spec, ".".join(str(item) for item in loc[:length]))
            if place.unknown is None and place.inner is None:
                return place
    return Place(".".join(str(item) for item in loc))


def _invalid(place: Place, details: list[ErrorDetails], entries: dict[str, Entry], file: str) -> Finding:
    path = _inner_path(place, details, entries)
    entry = entries.get(path) or _first_below(path.rpartition(".")[0] if place.key else path, entries)
    user_key = entry.key if entry and path in entries else path
    depth = place.path.count(".") + 1
    kinds = [detail["type"] if len(detail["loc"]) == depth else "item_" + detail["type"] for detail in details]
    if kinds == ["missing"] or (place.key and place.key.required and details[0]["input"] in ("", None)):
        return Finding(
            rule="spec/missing",
            severity="error",
            where=user_key,
            saw="no value",
            want=place.key.type_text if place.key else "a value",
            fix=Fix(text=f"set it in the file, or add {place.path}=VALUE to the command"),
            **_place(entry, file),
        )
    value = entry.value if entry and path in entries else details[0]["input"]
    want = place.key.type_text if place.key else "a table of keys"
    fix = _fix(place.key, value, user_key)
    return Finding(
        rule=f"spec/{_rule(kinds)}",
        severity="error",
        where=user_key,
        saw=_saw(value),
        want=want,
        fix=fix,
        **_place(entry, file),
    )


def _inner_path(place: Place, details: list[ErrorDetails], entries: dict[str, Entry]) -> str:
    """The key itself, or the name in a free table that an error is about."""
    names = [f"{place.path}.{part}" for detail in details for part in detail["loc"]]
    return next((name for name in names if name in entries), place.path)


def _rule(kinds: list[str]) -> str:
    kinds = [kind.removeprefix("item_") for kind in kinds]
    if any(kind.startswith(_BOUNDS) for kind in kinds):
        return "bounds"
    return "choice" if set(kinds) == {"literal_error"} else "type"


def _saw(value: object) -> str:
    for kind, name in ((str, "the text "), (dict, "the table "), ((list, tuple), "the list ")):
        if isinstance(value, kind):  # type: ignore[arg-type]
            return name + show(value)
    return show(value)


def _fix(key: KeyInfo | None, value: object, name: str) -> Fix | None:
    if key is None:
        return None
    if isinstance(value, str):
        return _fix_text(key, value, name)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if key.accepts(str(value)):
            return Fix(text=f'quote it: "{value}"', patch={name: str(value)})
        if isinstance(value, float) and value.is_integer() and key.accepts(int(value)):
            return Fix(text=f"write {int(value)}", patch={name: int(value)})
        items: Any = [value]
        if key.accepts(items):
            return Fix(text=f"write {show(items)}", patch={name: items})
    return None


def _fix_text(key: KeyInfo, value: str, name: str) -> Fix | None:
    spoken = _SPOKEN_BOOLS.get(value.lower())
    if spoken is not None and key.accepts(spoken):
        return Fix(text=f"write {show(spoken)}", patch={name: spoken})
    parsed: Any = parse_scalar(value.strip())
    if not isinstance(parsed, str) and key.accepts(parsed):
        return Fix(text=f"write {show(parsed)} without quotes", patch={name: parsed})
    options = [option for option in _texts(key.annotation) if isinstance(option, str)]
    folded = {option.lower(): option for option in options}
    near = difflib.get_close_matches(value.lower(), folded, n=1)
    if near and key.accepts(folded[near[0]]):
        return Fix(text=f"set it to {show(folded[near[0]])}", patch={name: folded[near[0]]})
    if key.accepts([value]):
        return Fix(text=f"write [{value}]", patch={name: [value]})
    return None


def _texts(annotation: Any) -> list[Any]:
    """The literal values somewhere at the top of a type."""
    found: list[Any] = []
    for item in get_args(annotation):
        found.extend([item] if isinstance(item, (str, bool)) else _texts(item))
    return found


def _first_below(path: str, entries: dict[str, Entry]) -> Entry | None:
    """The first key given in a table, to point at where the table stands."""
    return next((entry for key, entry in entries.items() if key.startswith(path + ".")), None)


def _place(entry: Entry | None, file: str) -> dict[str, Any]:
    if entry is not None and entry.from_command:
        return {"file": "command line"}
    return {"file": file, "pointer": f"line {entry.line}" if entry and entry.line else None}


def required_keys(spec: type[Spec]) -> tuple[KeyInfo, ...]:
    """Return the keys that have no default, those of tables that are off until given left out."""
    return tuple(key for key in iter_keys(spec) if key.required and key.optional_table is None)
