"""Records that no rule has anything to say of: one look takes the place of every fold, and leaves what they would."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tao_runtime.data.consistency import PLACES, SHORT, AbsoluteFold, AgreementFold
from tao_runtime.data.fold import Collector
from tao_runtime.data.llava import MEDIA_KEYS, ROLES, ConversationFold, IdFold, VideoFpsFold, is_positive, is_silent
from tao_runtime.data.record_keys import near_keys
from tao_runtime.data.references import MediaFold
from tao_runtime.data.source_video import SOURCE_KEYS

MAX_SHAPES: Final = 1000  # key sequences that are remembered
_NO_MEDIUM: Final = ""
_CLOSE_KEYS: Final = PLACES.union(SOURCE_KEYS, ("fps",))  # a record with one of these has more to be looked at
_CLOSER: Final = None  # the folds must look


@dataclass(slots=True)
class Usual:
    """Takes well-formed records of at most one known medium; the folds see the rest.

    A law of tests/data/test_usual.py: columns and findings are those of the folds alone.
    """

    turns: ConversationFold
    media: MediaFold
    rate: VideoFpsFold
    ids: IdFold
    agreement: AgreementFold
    absolute: AbsoluteFold
    shapes: dict[tuple[str, ...], str | None] = field(default_factory=dict)

    def take(self, index: int, record: Mapping[str, object], findings: Collector) -> bool:
        """Note a record as the folds would, and return True; False leaves everything as it was."""
        shape = tuple(record)
        medium = self.shapes[shape] if shape in self.shapes else self._look(shape)
        if medium is _CLOSER:
            return False
        try:
            asked, first = self._read(record[self.turns.key])
            if medium:
                name = record[medium]
                known = self.media.known[medium][name]  # type: ignore[index]
                fps = record["video_fps"] if medium == "video" else math.nan
        except (KeyError, TypeError, AttributeError, UnicodeEncodeError):  # not well formed, or a medium not seen yet
            return False
        turns = self.turns
        if not first or turns.num_tags != (medium != _NO_MEDIUM):
            return False
        if medium:
            if type(known) is not int or not (medium == "image" or is_positive(fps)):
                return False
            self.media.current, self.rate.fps = [known], fps  # type: ignore[assignment]
            if name[:1] == "/":  # type: ignore[index]
                self.absolute.see(index, record, findings)
        else:
            self.media.current, self.rate.fps = [], math.nan
        self.ids.see(index, record, findings)
        if len(first) <= SHORT:
            self.agreement.note(index, asked, first, None)
        return True

    def _read(self, turns: object) -> tuple[str, str]:
        """Measure the turns; return what is asked first and what is answered, or '' for turns that rules speak of."""
        text_bytes = answer_bytes = tags = 0
        previous = asked = first = ""
        for turn in turns:  # type: ignore[attr-defined]
            role, text = ROLES[turn["from"]], turn["value"]
            size = len(text) if text.isascii() else len(text.encode())
            if "<" in text:
                if "<|" in text:
                    return "", ""
                found = text.count("<video>") + text.count("<image>")
                if found and role == "gpt":
                    return "", ""
                tags += found
            if role == "gpt":
                if previous != "human" or is_silent(text):
                    return "", ""
                answer_bytes += size
                first = first or text
            elif role == previous or (role == "system" and previous):
                return "", ""
            elif not first:
                asked += text
            text_bytes += size
            previous = role
        mine = self.turns
        mine.text_bytes, mine.answer_bytes, mine.num_tags, mine.num_turns = text_bytes, answer_bytes, tags, len(turns)  # type: ignore[arg-type]
        return (asked, first) if previous == "gpt" else ("", "")

    def _look(self, shape: tuple[str, ...]) -> str | None:
        """Return which key of a record names its one medium, None if the folds must look closer at such records."""
        media = [key for key in MEDIA_KEYS if key in shape]
        plain = self.turns.answers and len(media) <= 1 and not set(media) - {"video", "image"}
        plain = plain and _CLOSE_KEYS.isdisjoint(shape) and not near_keys(shape)
        found = (media[0] if media else _NO_MEDIUM) if plain else _CLOSER
        if len(self.shapes) < MAX_SHAPES:
            self.shapes[shape] = found
        return found
