"""Keys of LLaVA records that are nearly one that is missing: further keys are everyone's own, a misspelt one is not."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

from tao_runtime.data.fold import At, Collector, declare, quote
from tao_runtime.data.llava import MEDIA_KEYS, VIDEO_KEYS

MISSPELT = declare(
    "dataset/key-misspelt",
    "warning",
    "No key of a record is close to one that the record lacks, such as vidoe.",
    source="the key is passed over: a record without its video trains on text alone",
)
KNOWN: Final = (*MEDIA_KEYS, "video_fps", "conversations")
CLOSE: Final = 0.8
MAX_NAMES: Final = 1000  # names that are counted


def near_keys(names: Collection[str]) -> dict[str, str]:
    """Return what is meant by keys that are nearly one which is not among them."""
    found = {}
    for name in names:
        meant = _nearest(name)
        if meant is None or meant in names or (meant in MEDIA_KEYS and not set(MEDIA_KEYS).isdisjoint(names)):
            continue
        if meant != "video_fps" or not set(VIDEO_KEYS).isdisjoint(names):
            found[name] = meant
    return found


@lru_cache(maxsize=4096)
def _nearest(name: str) -> str | None:
    """Return the known key that a name is close to; None: it is one, or of its own, as video_id and image2 are."""
    lower = name.lower()
    if name in KNOWN or lower in KNOWN:
        return None if name in KNOWN else lower
    near = difflib.get_close_matches(lower, KNOWN, n=1, cutoff=CLOSE)
    return near[0] if near and not (near[0] in MEDIA_KEYS and lower.startswith(near[0])) else None


class MisspeltFold:
    """Counts keys that are nearly known ones."""

    def __init__(self, conversation_key: str) -> None:
        self.key = conversation_key
        self.seen: dict[str, list[int]] = {}  # by name: the first record, how many

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        for name, meant in near_keys(record).items():
            if (meant != "conversations" or self.key == meant) and (name in self.seen or len(self.seen) < MAX_NAMES):
                self.seen.setdefault(name, [index, 0])[1] += 1

    def finish(self, findings: Collector) -> None:
        """Report each name once."""
        for name, (first, count) in sorted(self.seen.items()):
            saw, fix = f"{quote(name)} in {count:,} records", f"write {_nearest(name)}"
            findings.add(MISSPELT, saw, "a key that is read", at=At(first), fix=fix)
