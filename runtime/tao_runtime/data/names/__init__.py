"""Names of parameters: what the original training code calls them, and what diffusers does. Strings only, no torch.

A user's recipe speaks the original names (`keys_to_select`, LoRA targets), the networks here have those of diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FIELD = re.compile(r"\{(\w+)\}")
PATTERNS = {"i": r"\d+", "leaf": r".+"}  # a block's number; the rest of a name, also of an adapter's


@dataclass(frozen=True, slots=True)
class NameMap:
    """A bijection between two vocabularies of names, as pairs of templates with `{i}` and `{leaf}`."""

    pairs: Sequence[tuple[str, str]]  # original, diffusers
    dropped: re.Pattern[str]  # original names without counterpart: counters, buffers, parts of the objective
    prefixes: Sequence[str]  # that an original name may begin with; the first is written

    def to_diffusers(self, name: str) -> str | None:
        """Return the name in diffusers; None for a tensor that the network has not.

        Raises:
            KeyError: the name is of neither kind.
        """
        for prefix in self.prefixes:
            if name.startswith(prefix):
                name = name[len(prefix) :]
                break
        if self.dropped.search(name):
            return None
        return _translate(name, self.pairs)

    def to_original(self, name: str) -> str:
        """Return the original name, with its prefix.

        Raises:
            KeyError: the network has no such name.
        """
        return self.prefixes[0] + _translate(name, [(ours, original) for original, ours in self.pairs])

    def select(self, names: Iterable[str], keys: Iterable[str]) -> list[str]:
        """Return the diffusers names whose original name contains one of `keys`: upstream's substring rule."""
        wanted = tuple(keys)
        return [name for name in names if any(key in self.to_original(name) for key in wanted)]

    def targets(self, module: str) -> list[str]:
        """Return what LoRA calls a module of blocks, by its original last name or path: layer names of diffusers.

        Worked example: `mlp.layer1` -> `ff.net.0.proj`. Empty if no block has such a module.
        """
        found = []
        for original, ours in self.pairs:
            if "{i}" in original and original.endswith(f".{module}.{{leaf}}"):
                found.append(ours.removesuffix(".{leaf}").split("{i}.", 1)[1])
        return found


def _translate(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    for source, target in pairs:
        if match := _compiled(source).fullmatch(name):
            return target.format(**match.groupdict())
    raise KeyError(name)


def _compiled(template: str) -> re.Pattern[str]:
    parts = FIELD.split(template)  # text, field, text, field, ...
    text = [f"(?P<{part}>{PATTERNS[part]})" if number % 2 else re.escape(part) for number, part in enumerate(parts)]
    return re.compile("".join(text))
