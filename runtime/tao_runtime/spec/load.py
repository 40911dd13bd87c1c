"""Load a spec: read the file, find its family and action, apply overrides, validate; all mistakes at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from tao_runtime.errors import Finding, FindingsError, Fix, InputError
from tao_runtime.spec.base import Spec
from tao_runtime.spec.draft import Draft, real_key
from tao_runtime.spec.families import known_names, spec_classes
from tao_runtime.spec.keys import find
from tao_runtime.spec.messages import given_twice
from tao_runtime.spec.source import Entry, Source, read_source

_OVERRIDE_KEY = re.compile(r"[A-Za-z_][\w-]*(\.[^.=\s][^.=]*)*")


def load_spec(
    path: str | Path, overrides: Iterable[str] = (), *, action: str | None = None, family: str | None = None
) -> Spec:
    """Load a spec file with `key.path=value` overrides on top; later ones win.

    Family and action are found from the keys if not given, and among families of one dialect from their values.
    Reads the environment variables that the file names.
    Raises InputError if something cannot be read at all, FindingsError with every mistake otherwise.
    """
    source = read_source(Path(path))
    extra = tuple(_split_override(text) for text in overrides if text != "--")
    draft = Draft(_choose(source, extra, action=action, family=family), str(path))
    for key, lines in source.duplicates:
        twice = [Entry(key, None, line) for line in lines] or [Entry(key, None)]
        draft.findings.append(given_twice(key, twice, file=draft.file))
    own = draft.spec.opaque
    for entry in source.entries:
        if entry.key.split(".")[0] not in own:
            draft.add(entry)
    for name in own:
        if name in source.tree:
            draft.add(Entry(name, source.tree[name], next(e.line for e in source.entries if e.key.startswith(name))))
    for entry in extra:
        draft.override(entry)
    return draft.finish()


def dump_spec(spec: Spec) -> str:
    """Write a spec as YAML that `load_spec` reads back to an equal value."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _split_override(text: str) -> Entry:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not _OVERRIDE_KEY.fullmatch(key):
        raise InputError(f"override {text!r}: not of the form key.path=value")
    return Entry(key, value, raw=value, from_command=True)


def _know_most_keys(specs: list[type[Spec]], entries: Iterable[Entry]) -> list[type[Spec]]:
    """Return those that know most of the full keys: `model` and `dataset` are tables of more than one action."""
    keys = [entry.key for entry in entries]
    known = [sum(find(spec, real_key(key, spec.aliases)).unknown is None for key in keys) for spec in specs]
    return [spec for spec, count in zip(specs, known, strict=True) if count == max(known)]


def _claimed(specs: tuple[type[Spec], ...], source: Source, extra: tuple[Entry, ...]) -> tuple[type[Spec], ...]:
    """Return the specs that are surest of the values given: those of one dialect share their keys."""
    sure = {}
    for spec in specs:
        given = {real_key(entry.key, spec.aliases): entry.value for entry in (*source.entries, *extra)}
        sure[spec] = spec.claims(given)
    return tuple(spec for spec, how in sure.items() if how == max(sure.values()))


def _choose(source: Source, extra: tuple[Entry, ...], *, action: str | None, family: str | None) -> type[Spec]:
    """Return the spec that knows most of the top-level names; if one was asked for, no other may know more."""
    asked = spec_classes(family=family, action=action)
    tops = {entry.key.split(".")[0] for entry in (*source.entries, *extra)}
    scores = {spec: known_names(spec, tops) for spec in _claimed(spec_classes(family=family), source, extra)}
    best = max(scores.values())
    asked = tuple(spec for spec in asked if spec in scores) or asked
    if action is not None and (best == 0 or (len(asked) == 1 and scores.get(asked[0]) == best)):
        return asked[0]
    winners = _know_most_keys([spec for spec, score in scores.items() if score == best], (*source.entries, *extra))
    fitting = [spec for spec in winners if spec in asked]
    if len(fitting) > 1:
        fitting = [spec for spec in fitting if spec.assumed] or fitting
    if len(fitting) == 1 and best > 0:
        return fitting[0]
    names = " or ".join(dict.fromkeys(spec.action for spec in winners))
    if action is not None and not fitting:
        saw, want = f"the keys of a spec of action {names}", f"a spec of action {action}"
        fix = f"run {names} with it, or give a spec of action {action}"
    else:
        saw, want, fix = f"keys that fit {names}", "keys of one action", "name the action, or add its keys"
    raise FindingsError(
        [Finding(rule="spec/action", severity="error", where=str(source.path), saw=saw, want=want, fix=Fix(text=fix))]
    )
