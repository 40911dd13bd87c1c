"""Names of tensors: what wrappers put into them, which tower they belong to, and how they meet the base's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

# FSDP1, activation checkpointing, compilation, and DistributedDataParallel (only in front).
_WRAPPERS: Final = re.compile(r"_fsdp_wrapped_module\.|_checkpoint_wrapped_module\.|_orig_mod\.|^module\.|_flat_param")
# Parts of a name that say only how a library nests modules; loaders of other versions leave them out.
_NESTING: Final = frozenset({"model", "language_model"})


def wrapper_in(name: str) -> str | None:
    """Return what a wrapper put into a name, or None."""
    match = _WRAPPERS.search(name)
    return match.group() if match else None


def clean(name: str) -> str:
    """Return a name without what wrappers put into it."""
    return _WRAPPERS.sub("", name)


def tower(name: str) -> str:
    """Return the part of a model that a tensor belongs to: the first word after `model.`."""
    words = clean(name).split(".")
    return words[1] if words[0] == "model" and len(words) > 2 else words[0]


def nested(name: str) -> str:
    """Return a name without words that only nest: two names that are equal so can be mapped to each other."""
    words = clean(name).split(".")
    return ".".join(word for word in words if word not in _NESTING)


def shared_prefix(names: Collection[str]) -> str:
    """Return the first word of all names, with its dot; empty if they do not share one."""
    firsts = {name.partition(".")[0] for name in names}
    return f"{firsts.pop()}." if len(firsts) == 1 and all("." in name for name in names) else ""


def prefix_shift(own: Collection[str], base: Collection[str]) -> tuple[str, str]:
    """Return (to strip, to add) that makes the names fit the base; two empty texts if they fit as they are."""
    known = set(base)
    plain = sum(name in known for name in own)
    if not own or plain * 2 > min(len(own), len(known)):
        return "", ""
    words = Counter(f"{name.partition('.')[0]}." for name in base if "." in name)
    first = [word for word, _ in words.most_common(20)]
    strip = shared_prefix(own)
    choices = [(strip, "")] if strip else []
    choices += [("", prefix) for prefix in first]
    choices += [(strip, prefix) for prefix in first if strip]
    hits = {choice: sum(choice[1] + name.removeprefix(choice[0]) in known for name in own) for choice in choices}
    best = max(hits, key=lambda choice: hits[choice], default=("", ""))
    return best if hits.get(best, 0) * 2 > min(len(own), len(known)) else ("", "")


def layer_numbers(names: Iterable[str]) -> Mapping[str, set[int]]:
    """Return the numbers that each list of modules has, by the name in front of them: `model.layers` -> {0, 1, ...}."""
    found: dict[str, set[int]] = {}
    for name in names:
        words = name.split(".")
        for place, word in enumerate(words):
            if place and word.isdecimal() and len(word) < 5:
                found.setdefault(".".join(words[:place]), set()).add(int(word))
    return found
