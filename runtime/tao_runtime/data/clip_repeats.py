"""Stretches of clips that a data set has more than once: with one caption, or with several that differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from tao_runtime.data.clips import Window
from tao_runtime.data.facts import MediaHeader
from tao_runtime.data.fold import At, Collector, declare
from tao_runtime.data.same_content import content_digest

REPEATED = declare(
    "clips/repeated",
    "warning",
    "A stretch of a clip is in a data set once; copies of a file under other names count.",
    source="what is there twice is trained on twice as often as the rest, and hides how small a set is",
)
CONTRADICTION = declare(
    "clips/captions-contradict",
    "warning",
    "A stretch of a clip has one caption; copies of a file under other names count.",
    source="two texts for one video: where one of them is wrong, no model can learn both",
)
_ONCE: Final = "leave one of them out"


class HasWindows(Protocol):
    """What is compared of a clip."""

    @property
    def windows(self) -> Sequence[tuple[Window, int, bool]]: ...

    @property
    def captions(self) -> Sequence[int]: ...


def judge_repeats(
    rows: Sequence[HasWindows], media: Sequence[MediaHeader | None], places: Sequence[int], findings: Collector
) -> None:
    """Compare windows and hashes of captions; `places` says which of `media` each clip is."""
    first_copy = _copies(media)
    known: dict[tuple[int, Window], tuple[int, int]] = {}  # stretch -> the clip that had it first, and its caption
    for number, (row, place) in enumerate(zip(rows, places, strict=True)):
        header = media[place]
        if header is None:
            continue
        for (window, *_), caption in zip(row.windows, row.captions, strict=True):
            inside = Window(window.first, min(window.last, header.num_frames - 1), window.interval)
            earlier, said = known.setdefault((first_copy.get(place, place), inside), (number, caption))
            if earlier == number:
                continue
            what = "the same frames" if place == first_copy.get(place, place) else "the same bytes"
            if said == caption:
                rule, saw, want = REPEATED, f"{what} as record {earlier}, with the same caption", "it once"
            else:
                rule, saw, want = CONTRADICTION, f"{what} as record {earlier}, with another caption", "one caption"
            findings.add(rule, saw, want, at=At(number, file=str(header.path)), fix=_ONCE)


def _copies(media: Iterable[MediaHeader | None]) -> dict[int, int]:
    """Return for every file with the bytes of an earlier one which that is; only files of equal size are read."""
    by_size: dict[int, list[tuple[int, MediaHeader]]] = defaultdict(list)
    for number, header in enumerate(media):
        if header is not None:
            by_size[header.size_bytes].append((number, header))
    found: dict[int, int] = {}
    for size, alike in by_size.items():
        seen: dict[bytes, int] = {}
        for number, header in alike if len(alike) > 1 else ():
            digest = content_digest(header.path, size)
            if digest is not None and seen.setdefault(digest, number) != number:
                found[number] = seen[digest]
    return found
