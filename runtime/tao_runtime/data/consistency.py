"""Rules about records beside each other: short answers that contradict, and paths that hold on one machine only."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from tao_runtime.data.fold import At, Collector, declare, quote
from tao_runtime.data.hashed import HashedRecords
from tao_runtime.data.llava import MEDIA_KEYS, ROLES
from tao_runtime.data.source_video import INTERVAL_KEYS

SHORT: Final = 32  # characters: a longer answer is a description, of which several may be right
LOW_BITS: Final = 0x7FFFFFFF  # of the hash of an answer: two answers look alike once in two billion
MAX_ANSWERS: Final = 4096  # short answers recur; this many are remembered
PLACES: Final = frozenset(key for pair in INTERVAL_KEYS for key in pair)  # which part of a medium is asked about

CONTRADICTION = declare(
    "dataset/answers-contradict",
    "warning",
    "Records with the same question about the same media have the same answer, where answers are short.",
    source="two labels for one sample: one of them is wrong, and no model can learn both",
)
ABSOLUTE = declare(
    "dataset/media-absolute",
    "note",
    "Media paths are relative to the media root: absolute ones hold on this machine only.",
    source="annotation files are copied to where the GPUs are",
)


class HasCurrent(Protocol):
    """What tells the media of the record last seen: two records with equal numbers have the same."""

    @property
    def current(self) -> Sequence[int]: ...


class AgreementFold:
    """Compares the first short answer of records that ask the same: 12 bytes a record, and no text."""

    def __init__(self, key: str, media: HasCurrent) -> None:
        self.key = key
        self.media = media  # has seen the record before this fold does
        self.asked, self.answered = HashedRecords(), array("i")
        self.plain: dict[str, int] = {}  # an answer as it stands -> its hash without case and full stop

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        turns = record.get(self.key)
        if findings.failed or type(turns) is not list:
            return
        asked = ""
        for turn in turns:  # they passed their rules
            text = turn["value"]
            if ROLES[turn["from"]] == "gpt":
                break
            asked += text
        else:
            return
        if len(text) <= SHORT:
            place = None if PLACES.isdisjoint(record) else tuple(str(record.get(key)) for key in sorted(PLACES))
            self.note(index, asked, text, place)

    def note(self, index: int, asked: str, answer: str, place: tuple[str, ...] | None) -> None:
        """Take what a record asks about the current media, and its short answer."""
        said = self.plain.get(answer)
        if said is None:
            said = hash(answer.strip().rstrip(".").casefold()) & LOW_BITS
            if len(self.plain) < MAX_ANSWERS:
                self.plain[answer] = said
        self.asked.add(index, hash((asked, *self.media.current, place)))
        self.answered.append(said)

    def finish(self, findings: Collector) -> None:
        if not len(self.asked):
            return
        answered, pairs = np.frombuffer(self.answered, np.int32), list[tuple[int, int]]()
        for later, first in self.asked.recurring():
            differs = answered[later] != answered[first]
            pairs += zip(later[differs].tolist(), first[differs].tolist(), strict=True)
        for one, earlier in sorted(pairs):
            saw = f"another answer than record {self.asked.record(earlier)} to the same question about the same media"
            at, fix = At(self.asked.record(one), f"/{self.key}"), "keep the one that is right"
            findings.add(CONTRADICTION, saw, "one answer", at=at, fix=fix)


class AbsoluteFold:
    """Counts records that name media by absolute paths; one finding for all of them."""

    def __init__(self, fix: str = "make them relative, and name their folder as the media path of the spec") -> None:
        self.fix = fix
        self.count, self.first, self.example = 0, 0, ""

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        value = record.get("video") or next((record[key] for key in MEDIA_KEYS if record.get(key)), None)
        name = value[0] if type(value) is list and value else value
        if type(name) is str and name[:1] == "/" and not findings.failed:
            if not self.count:
                self.first, self.example = index, name
            self.count += 1

    def finish(self, findings: Collector) -> None:
        if self.count:
            saw = f"{self.count:,} records name media by absolute paths, such as {quote(self.example)}"
            findings.add(ABSOLUTE, saw, "paths relative to the media root", at=At(self.first), fix=self.fix)
