"""Record rules of the LLaVA format: {id, video | image | images, video_fps, conversations: [{from, value}]}."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping
from typing import Final

import numpy as np
from pydantic import JsonValue

from tao_runtime.data.fold import At, Collector, declare, quote

ROLES: Final = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt", "system": "system"}
VIDEO_KEYS: Final = ("video", "videos")
MEDIA_KEYS: Final = (*VIDEO_KEYS, "image", "images")
_FORMAT = "LLaVA conversation format; the upstream loader reads exactly these keys"

NOT_OBJECT = declare(
    "dataset/record-not-object", "error", "Every element of an annotation file is an object.", source=_FORMAT
)
NO_TURNS = declare(
    "dataset/conversations-missing", "error", "Every record has a list of turns that is not empty.", source=_FORMAT
)
BAD_TURN = declare(
    "dataset/turn-malformed",
    "error",
    "A turn is an object with `from` (a known role) and `value` (text).",
    source=_FORMAT,
)
NOT_TEXT = declare(
    "dataset/text-not-unicode",
    "error",
    "Text is valid Unicode: a lone surrogate cannot be tokenised.",
    source="Unicode 15, D71-D76",
)
ORDER = declare(
    "dataset/roles-alternate", "error", "Turns alternate human, gpt; system comes first or not at all.", source=_FORMAT
)
NO_ANSWER = declare(
    "dataset/answer-missing",
    "error",
    "At least one gpt turn: without it nothing is supervised.",
    source="answers-only loss",
)
EMPTY_ANSWER = declare(
    "dataset/answer-empty", "error", "A gpt turn is not empty: it would teach silence.", source="answers-only loss"
)
UNANSWERED = declare(
    "dataset/last-turn-unanswered",
    "warning",
    "The last turn is gpt's: a question after the last answer trains nothing.",
    source="answers-only loss",
)
TAG_IN_ANSWER = declare(
    "dataset/tag-in-answer", "error", "No media tag in a gpt turn: media cannot be generated.", source=_FORMAT
)


SPECIAL_TOKEN = declare(
    "dataset/special-token",
    "error",
    "No special token such as <|im_end|> in the text of a turn: it would end the turn, or stand for a medium.",
    source="the tokenizer reads them wherever they stand",
)
SPECIAL = re.compile(r"<\|[A-Za-z0-9_]+\|>")


class ConversationFold:
    """Judges the turns of a record, and measures them."""

    def __init__(self, key: str, *, answers: bool = True) -> None:
        self.key = key
        self.answers = answers  # false: the records are questions only
        self.text_bytes = self.answer_bytes = self.num_turns = 0
        self.num_tags = 0  # of the last record seen, outside answers

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        self.text_bytes = self.answer_bytes = self.num_turns = self.num_tags = 0
        turns = record.get(self.key)
        if type(turns) is not list or not turns:
            saw = f"no {self.key!r}" if self.key not in record else f"{self.key}: {quote(turns)}"
            findings.add(NO_TURNS, saw, "a list of turns", at=At(index, f"/{self.key}"))
            return
        previous, answers = "", 0
        for number, turn in enumerate(turns):
            role = self._turn(index, number, turn, findings)
            if not role:
                return
            answers += role == "gpt"
            if role == previous or (role == "gpt" and previous != "human") or (role == "system" and previous):
                saw = f"{role} after {previous}" if previous else f"{role} first"
                findings.add(ORDER, saw, "human and gpt in turn, human first", at=self._at(index, number))
                return
            previous = role
        self.num_turns = len(turns)
        if not self.answers:
            return
        if not answers:
            findings.add(
                NO_ANSWER, "no gpt turn", "an answer to train on or to compare with", at=At(index, f"/{self.key}")
            )
        elif previous != "gpt":
            saw = f"the last of {len(turns)} turns is {previous}"
            findings.add(UNANSWERED, saw, "a gpt turn at the end", at=self._at(index, len(turns) - 1))

    def _at(self, index: int, number: int, key: str = "") -> At:
        return At(index, f"/{self.key}/{number}{key}")

    def _turn(self, index: int, number: int, turn: object, findings: Collector) -> str:
        """Measure a turn that is well formed and return its role; '' for one that is not."""
        if type(turn) is not dict:
            findings.add(BAD_TURN, quote(turn), "an object with 'from' and 'value'", at=self._at(index, number))
            return ""
        name, text = turn.get("from"), turn.get("value")
        role = ROLES.get(name) if type(name) is str else None
        if role is None:
            saw = f"from: {quote(name)}" if "from" in turn else "no 'from'"
            findings.add(BAD_TURN, saw, "human, gpt or system", at=self._at(index, number, "/from"))
            return ""
        if type(text) is not str:
            saw = f"value: {quote(text)}" if "value" in turn else "no 'value'"
            findings.add(BAD_TURN, saw, "text", at=self._at(index, number, "/value"))
            return ""
        size = len(text) if text.isascii() else _utf8_bytes(text)
        if size < 0:
            findings.add(NOT_TEXT, quote(text), "text without lone surrogates", at=self._at(index, number))
            return ""
        if "<|" in text and (found := SPECIAL.search(text)):
            findings.add(SPECIAL_TOKEN, found.group(), "plain text", at=self._at(index, number, "/value"))
        tags = text.count("<video>") + text.count("<image>") if "<" in text else 0
        self.text_bytes += size
        if role != "gpt":
            self.num_tags += tags
            return role
        self.answer_bytes += size
        if tags:
            plain = text.replace("<video>", "&lt;video&gt;").replace("<image>", "&lt;image&gt;")
            fix = "write &lt;video&gt; or &lt;image&gt; where an answer speaks of the tag, or take it out"
            patch: dict[str, JsonValue] = {f"{self.key}/{number}/value": plain}
            want = "media tags in human turns only"
            findings.add(TAG_IN_ANSWER, quote(text), want, at=self._at(index, number), fix=fix, patch=patch)
        if not text or text.isspace():
            fix = "write the answer, or drop the record"
            findings.add(EMPTY_ANSWER, quote(text), "an answer", at=self._at(index, number), fix=fix)
        return role

    def finish(self, findings: Collector) -> None:
        """Nothing is left over."""


def _utf8_bytes(text: str) -> int:
    """Bytes of the text in UTF-8; -1 if it holds a lone surrogate, which JSON allows and UTF-8 does not."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return -1


VIDEO_FPS = declare(
    "dataset/video-fps",
    "error",
    "Every video record has `video_fps`, a positive number.",
    source="seed guide: the upstream loader ends with \"Error processing sample: 'video_fps'\" after the job starts",
)


class VideoFpsFold:
    """Judges `video_fps` of video records; `fps` is that of the last record seen, NaN if it has none."""

    def __init__(self) -> None:
        self.fps = math.nan

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        self.fps = math.nan
        if not (record.get("video") or record.get("videos")):
            return
        value = record.get("video_fps")
        if is_positive(value):
            self.fps = float(value)  # type: ignore[arg-type]
            return
        if type(value) is list and value and all(is_positive(one) for one in value):
            return  # one rate for each of several videos
        saw = f"video_fps: {quote(value)}" if "video_fps" in record else "no 'video_fps'"
        findings.add(
            VIDEO_FPS,
            saw,
            "a number of frames per second above 0",
            at=At(index, "/video_fps"),
            fix="write the frame rate of the video file",
        )

    def finish(self, findings: Collector) -> None:
        """Nothing is left over."""


def is_positive(value: object) -> bool:
    """Tell whether a JSON value is a finite number above 0; 1e999 reads as infinity, and true is no number."""
    return type(value) in (int, float) and 0 < value < 1e6  # type: ignore[operator]


DUPLICATE = declare(
    "dataset/id-duplicate",
    "warning",
    "Ids are unique: results and gaps are joined by id.",
    source="gap analysis joins by id",
)


class IdFold:
    """Finds ids that occur twice, from 64-bit hashes: 8 bytes a record."""

    def __init__(self) -> None:
        self.hashes = array("q")
        self.records = array("q")

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        value = record.get("id")
        if type(value) in (str, int):
            self.hashes.append(hash(str(value)))
            self.records.append(index)

    def finish(self, findings: Collector) -> None:
        hashes = np.frombuffer(self.hashes, dtype=np.int64) if self.hashes else np.empty(0, np.int64)
        order = np.argsort(hashes, kind="stable")
        same = hashes[order][1:] == hashes[order][:-1]
        for position in np.sort(order[1:][same]) if same.any() else ():
            first = (
                self.records[int(np.argmax(hashes == hashes[position]))] if findings.counts[DUPLICATE.name] < 20 else 0
            )
            saw = f"the same id as record {first}"
            findings.add(DUPLICATE, saw, "an id of its own", at=At(self.records[int(position)], "/id"))
