"""Seeded mutations of JSON values and of bytes, for tests that nothing whatsoever raises."""

from __future__ import annotations

import random

# fmt: off
JUNK = (None, True, False, 0, -1, 1e999, 10**400, "", " ", "\ud800", "\0", "<video>", [], [None], {}, {"a": 1}, [[]],
        ["clip_0.mp4", 3], "../..", "/", ".", "~", "x" * 5000, {"from": "gpt"}, [{"from": [], "value": {}}])
# fmt: on


def mutate(value: object, rng: random.Random) -> object:
    """Replace, drop or double something at a random depth."""
    if rng.random() < 0.3 or not isinstance(value, dict | list) or not value:
        return rng.choice(JUNK)
    if isinstance(value, dict):
        key = rng.choice(list(value))
        rest = {name: one for name, one in value.items() if name != key}
        return (
            rest
            if rng.random() < 0.2
            else {**rest, rng.choice([key, "image", "videos", "id"]): mutate(value[key], rng)}
        )
    position = rng.randrange(len(value))
    return [*value[:position], mutate(value[position], rng), *value[position + (rng.random() < 0.8) :]]
