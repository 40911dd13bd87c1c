"""Record patches: {path of keys and positions joined by '/': value}, where null takes a key out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

Patch = dict[str, JsonValue]


def apply_patch(record: Mapping[str, object], patch: Mapping[str, JsonValue]) -> dict[str, object]:
    """Return a patched copy; only what the paths lead through is copied. Raises KeyError or IndexError for no place."""
    changed: dict[str, Any] = dict(record)
    for path, value in patch.items():
        *names, leaf = path.split("/")
        place: Any = changed
        for name in names:
            key = int(name) if isinstance(place, list) else name
            place[key] = place[key].copy()
            place = place[key]
        if isinstance(place, list):
            place[int(leaf)] = value
        elif value is None:
            place.pop(leaf, None)
        else:
            place[leaf] = value
    return changed


def disjoint(patches: list[Patch]) -> Patch:
    """Return as many of the patches as can be applied together: one that touches what an earlier one does waits."""
    together: Patch = {}
    for patch in patches:
        if not any(_touch(path, other) for path in patch for other in together):
            together.update(patch)
    return together


def _touch(one: str, other: str) -> bool:
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")
