"""Keys that are read and change nothing: which of them a spec sets, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from tao_runtime.preflight.rule import Problem
from tao_runtime.spec.base import Spec


def changed(spec: Spec, key: str) -> tuple[object, object] | None:
    """Return (value, default) of a key that differs from its default; None if it does not."""
    table: object = spec
    *path, leaf = key.split(".")
    for name in path:
        table = getattr(table, name, None)
    field = type(table).model_fields.get(leaf) if isinstance(table, BaseModel) else None
    if field is None:
        return None
    value, default = getattr(table, leaf), field.get_default(call_default_factory=True)
    return None if value == default else (value, default)


def without_effect(spec: Spec, reasons: Mapping[str, str]) -> Iterator[Problem]:
    """Yield the keys of `reasons` (key -> why it changes nothing) that a spec sets to something else."""
    for key, reason in reasons.items():
        if pair := changed(spec, key):
            yield Problem(key, f"{pair[0]!r} has no effect: {reason}", "its default, or the key left out")
