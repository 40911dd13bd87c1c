"""Seeded mutations of JSON values and of bytes, for tests that nothing whatsoever raises."""

from __future__ import annotations

import random

# fmt: off
JUNK = (None, True, False, 0, -1, 1e999, 10**400, "", " ", "\ud800", "\0", "<video>", [], [None], {}, {"a": 1}, [[]],
        ["clip_0.mp4", 3], "../..", "/", ".", "~", "x" * 5000, {"from": "gpt"}, [{"from": [], "value": {}}])
# fmt: on
NAMES = ("image", "videos", "id", "fps")


def mutate(value: object, rng: random.Random, *, stop: float = 0.3, names: tuple[str, ...] = NAMES) -> object:
    """Replace, drop or double something somewhere: the smaller `stop`, the deeper. `names`: what keys may become."""
    if not isinstance(value, dict | list) or not value:
        return rng.choice(JUNK) if rng.random() < 2 * stop else near(value, rng)
    if rng.random() < stop:
        return rng.choice(JUNK)
    if isinstance(value, dict):
        key = rng.choice(list(value))
        rest = {name: one for name, one in value.items() if name != key}
        if rng.random() < min(stop, 0.2):
            return rest
        return {**rest, rng.choice([*[key] * KEPT, *names]): mutate(value[key], rng, stop=stop, names=names)}
    position = rng.randrange(len(value))
    changed = mutate(value[position], rng, stop=stop, names=names)
    return [*value[:position], changed, *value[position + (rng.random() < 0.8) :]]


KEPT = 3  # times that a key keeps its name, for each time that it gets another


def near(value: object, rng: random.Random) -> object:
    """Return a value of about the same kind: what a user might write by mistake."""
    if isinstance(value, bool) or value is None:
        return rng.choice((not value, "yes", 1, None))
    if isinstance(value, int):
        text: object = str(value)
        return rng.choice((0, -1, 1, value + 1, -value, 2 * value, value * 1000, 2**31, 10**30, 0.5, text, [value]))
    if isinstance(value, float):
        wild = (1e-300, 1e308, float("nan"), float("inf"))
        return rng.choice((0.0, -value, value * 1e6, *wild, str(value), value // 1, [value]))
    text = str(value)
    paths = (text + "/..", "/" + text, "~/" + text, "${" + text + "}")
    marks = (f" {text} ", text + "\n", "\ufeff" + text, "é" + text)
    return rng.choice((text.upper(), text + "x", text[1:], text.replace("o", "0"), text * 50, [text], *paths, *marks))


def mutate_bytes(raw: bytes, rng: random.Random) -> bytes:
    """Cut, flip, double, drop or insert bytes at random places."""
    for _ in range(rng.randint(1, 4)):
        at, end = sorted((rng.randrange(len(raw) + 1), rng.randrange(len(raw) + 1)))
        piece = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
        end = min(end, at + 200)
        mark = rng.choice((b"{", b"}", b"[", b"]", b",", b'"', b"\n", b"\0", b": ", b"&a *a", b"<<: *x", b"---\n"))
        inserted, cut = raw[:at] + piece + raw[at:], raw[:at] + raw[end:]
        raw = rng.choice(
            (inserted, cut, raw[:end] + raw[at:], raw[:at] + piece + raw[end:], raw[:at] + mark + raw[at:])
        )
    return raw
