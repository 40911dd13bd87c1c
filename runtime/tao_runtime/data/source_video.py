"""Which source video a clip was cut from, and which seconds of it: by the record's own fields, else by its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.data.fold import Collector

SOURCE_KEYS: Final = ("source_video", "source_video_id", "source_id", "youtube_id")
# Pairs of keys that give a clip's place in its source, in seconds.
INTERVAL_KEYS: Final = (("start", "end"), ("start_time", "end_time"), ("start_s", "end_s"), ("clip_start", "clip_end"))

_KEYS = frozenset((*SOURCE_KEYS, *(key for pair in INTERVAL_KEYS for key in pair)))
# abc_12.5_20, abc_000010_000020 (seconds or frames); abc_part3, abc-seg_03; abc_0003
_INTERVAL = re.compile(r"(?P<source>.+?)[_\-](?P<start>\d+(?:\.\d+)?)[_\-](?P<end>\d+(?:\.\d+)?)")
_PART = re.compile(r"(?P<source>.+?)[_\-. ]?(?:part|seg|segment|chunk|shot|window|clip)[_\-]?\d+", re.IGNORECASE)
_NUMBER = re.compile(r"(?P<source>.+?)[_\-]\d{1,6}")
# Words that many unrelated files share.
_GENERIC = re.compile(
    r"(?:video|vid|clip|image|img|frame|sample|scene|seg|segment|part|episode|train|training|val|valid|validation|test"
    r"|data|camera|cam|rgb|mp4|output|file|record|recording)s?(?![a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a clip comes from."""

    source: str
    start: float | None = None  # in seconds or frames, the same unit for all clips of a source; None: not known
    end: float | None = None

    def overlaps(self, other: Cut) -> bool:
        """Tell whether two clips of a source share time; false where either does not say."""
        if self.start is None or self.end is None or other.start is None or other.end is None:
            return False
        return self.source == other.source and max(self.start, other.start) < min(self.end, other.end)


def cut_of_name(stem: str) -> Cut | None:
    """Return what a file name says, None where it names no source: `clip_0` and `000017` name none.

    Worked examples: `vJk3x9_10_20` -> vJk3x9 from 10 to 20; `drive-0412b_part3` -> drive-0412b.
    """
    if (match := _INTERVAL.fullmatch(stem)) and float(match["start"]) < float(match["end"]):
        cut = Cut(match["source"], float(match["start"]), float(match["end"]))
    elif match := _PART.fullmatch(stem) or _NUMBER.fullmatch(stem):
        cut = Cut(match["source"])
    else:
        cut = Cut(stem)
    return cut if names_a_source(cut.source) else None


def names_a_source(text: str) -> bool:
    """Tell whether a name is one that unrelated files would hardly share: a counter or a plain word is not."""
    rest = re.sub(r"[\W_]+", "", _GENERIC.sub("", text))
    if rest.isdigit():
        return len(rest) >= 8 and not rest.startswith("00")
    return len(rest) >= 6 and any(char.isdigit() for char in rest)


class SourceFold:
    """Notes what records say of their source; a record that says nothing takes no memory. `cuts` is by record."""

    def __init__(self) -> None:
        self.cuts: dict[int, Cut] = {}

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        if _KEYS.isdisjoint(record):
            return
        source = next((str(record[key]) for key in SOURCE_KEYS if type(record.get(key)) in (str, int)), "")
        span = next(((record[a], record[b]) for a, b in INTERVAL_KEYS if a in record and b in record), (None, None))
        start, end = (float(one) if type(one) in (int, float) else None for one in span)  # type: ignore[arg-type]
        if source or (start is not None and end is not None):
            self.cuts[index] = Cut(source, start, end)

    def finish(self, findings: Collector) -> None:
        """Nothing is left over."""
