"""Keys of clip records that no reader knows: counted by name, with the known name that is meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.data.captions import KEYS, PLAIN
from tao_runtime.data.fold import At, Collector, declare, quote

UNKNOWN = declare(
    "clips/unknown-key",
    "warning",
    "A window has no key that no reader knows, and a record none that is close to a known one it lacks.",
    source="a key that nobody reads is passed over: with temporal_intervall every frame is taken",
)
RECORD: Final = frozenset(
    ("uuid", "vision_path", "t2w_windows", "width", "height", "duration", "nb_frames", "framerate")
)  # upstream's loader, and what writes its files
WINDOW: Final = frozenset(("start_frame", "end_frame", "temporal_interval", *KEYS))
# Captions of a model and a style, of which upstream's loader draws one where there is no other.
STYLED: Final = re.compile(r"[a-z0-9]+_[a-z0-9]+_(short|temporal|descriptive|dense)")
REWRITTEN: Final = "_rewrite-dense"  # upstream's loader takes such a caption before the plain one
MAX_NAMES: Final = 1000  # names that are counted
CLOSE: Final = 0.75
CLOSER: Final = 0.88  # where there is a caption already: caption_long is none misspelt


@dataclass(slots=True)
class _Seen:
    at: At
    fix: str
    count: int = 0


class ClipKeyFold:
    """Counts unknown keys of windows, and keys of records that are nearly known ones."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], _Seen | None] = {}  # None: a key that may be there

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        self._look(index, record, "records", "")
        windows = record.get("t2w_windows")
        for number, window in enumerate(windows if isinstance(windows, list) else ()):
            if isinstance(window, dict):
                self._look(index, window, "windows", f"/t2w_windows/{number}")

    def _look(self, index: int, table: Mapping[str, object], kind: str, pointer: str) -> None:
        known = WINDOW if kind == "windows" else RECORD
        for name in table.keys() - known:
            place = (kind, name)
            if place not in self.seen and len(self.seen) < MAX_NAMES:
                self.seen[place] = _judge(name, table, kind, At(index, pointer or None))
            if (entry := self.seen.get(place)) is not None:
                entry.count += 1

    def finish(self, findings: Collector) -> None:
        """Report each name once."""
        for (kind, name), seen in sorted(self.seen.items(), key=lambda item: item[0]):
            if seen is not None:
                saw = f"{quote(name)} in {seen.count:,} {kind}"
                findings.add(UNKNOWN, saw, "keys that are read", at=seen.at, fix=seen.fix)


def _judge(name: str, table: Mapping[str, object], kind: str, at: At) -> _Seen | None:
    """Return what to say of a key that is not known; None: nothing."""
    known = WINDOW if kind == "windows" else RECORD
    near = difflib.get_close_matches(name, sorted(known - table.keys()), n=1, cutoff=CLOSE)
    if kind == "windows" and name.endswith(REWRITTEN):
        return _Seen(at, f"upstream reads it before {PLAIN}, and this reader does not: keep one, as {PLAIN}")
    has_caption = not table.keys().isdisjoint(KEYS)
    if near and near[0] in KEYS and has_caption and not difflib.get_close_matches(name, near, cutoff=CLOSER):
        near = []
    if near:
        return _Seen(at, f"write {near[0]}")
    if kind == "records" or STYLED.fullmatch(name):
        return None
    return _Seen(at, "nothing reads it: leave it out, or as it is")
