"""What `tao-run explain KEY` prints: everything that is known of a key, in every action that has it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from tao_runtime.errors import InputError
from tao_runtime.spec.base import Spec
from tao_runtime.spec.draft import real_key
from tao_runtime.spec.families import spec_classes
from tao_runtime.spec.keys import KeyInfo, TableInfo, find, iter_items, show

_SINCE = {
    "cosmos-rl": "open upstream code only",
    "tao-run": "of this project",
    "head": "newer upstream",
    "cosmos-framework": "the open framework of upstream",
    "cosmos-predict": "Predict1 and Predict2",
}


def explain(key: str, *, family: str | None = None, action: str | None = None) -> str:
    """Return the text about a key, a table, or every key with this last name. Raises InputError if there is none."""
    specs = spec_classes(family=family, action=action)
    found = list(_exact(key, specs)) or list(_by_last_name(key, specs))
    if not found:
        paths = sorted({item.path for spec in specs for item in iter_items(spec)})
        names = {path.rpartition(".")[2]: path for path in reversed(paths)}
        near = difflib.get_close_matches(key, paths, n=3) or [
            names[name] for name in difflib.get_close_matches(key.rpartition(".")[2], names, n=3)
        ]
        hint = f"; did you mean {' or '.join(near)}" if near else ""
        raise InputError(f"key {key}: does not exist{hint}")
    texts: dict[str, list[str]] = {}
    for spec, item in found:
        texts.setdefault(_text(item, spec), []).append(f"{spec.family} {spec.action}")
    return "\n\n".join(f"{text}\n  in:      {', '.join(owners)}" for text, owners in texts.items())


def _exact(key: str, specs: tuple[type[Spec], ...]) -> Iterator[tuple[type[Spec], KeyInfo | TableInfo]]:
    for spec in specs:
        place = find(spec, real_key(key, spec.aliases))
        item = place.key or place.table
        if place.unknown is None and item is not None:
            yield spec, item


def _by_last_name(key: str, specs: tuple[type[Spec], ...]) -> Iterator[tuple[type[Spec], KeyInfo | TableInfo]]:
    for spec in specs:
        for item in iter_items(spec):
            if item.path.endswith("." + key):
                yield spec, item


def _text(item: KeyInfo | TableInfo, spec: type[Spec]) -> str:
    if isinstance(item, TableInfo):
        inner = [part.path for part in iter_items(item.model, item.path + ".") if isinstance(part, KeyInfo)]
        state = " Off until given." if item.optional else ""
        return f"{item.path}\n  {item.doc}{state}\n  keys:    " + "\n           ".join(inner)
    lines = [item.path, f"  {item.doc}", f"  type:    {item.type_text}"]
    lines.append("  default: none, required" if item.required else f"  default: {show(item.default)}")
    if item.unit:
        lines.append(f"  unit:    {item.unit}")
    if item.optional_table:
        lines.append(f"  table:   {item.optional_table} is off until given")
    short = [alias for alias, target in spec.aliases.items() if target == item.path]
    if short:
        lines.append(f"  short:   {', '.join(short)}")
    if item.automl:
        lines.append("  search:  " + automl_text(item))
    lines.append(f"  since:   {_SINCE.get(item.since, item.since)}")
    return "\n".join(lines)


def automl_text(key: KeyInfo) -> str:
    """Say in one line how a search may vary a key."""
    hints = dict(key.automl)
    state = {True: "by default", False: "never"}.get(hints.pop("enabled", None), "on request")
    return "; ".join([state, *(f"{name.replace('-', ' ')} {show(value)}" for name, value in hints.items())])
