"""Record rules of the LLaVA format: {id, video | image | images, video_fps, conversations: [{from, value}]}."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import JsonValue

from tao_runtime.data.fold import At, Collector, declare, quote
from tao_runtime.data.hashed import HashedRecords

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
    "dataset/answer-empty",
    "error",
    "A gpt turn says something that can be seen, also without its reasoning: else it would teach silence.",
    source="answers-only loss; with response_mode answer, what stands in <think> is masked",
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
MEDIA_TAG = re.compile(r"<video>|<image>")
REASONING = re.compile(r"<think>.*?</think>", re.DOTALL)
SURROGATE = re.compile(r"[\ud800-\udfff]")


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
            saw, at = f"the last of {len(turns)} turns is {previous}", self._at(index, len(turns) - 1)
            fix, patch = "leave it out", {self.key: turns[:-1]}
            findings.add(UNANSWERED, saw, "a gpt turn at the end", at=at, fix=fix, patch=patch)

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
            at, want = self._at(index, number, "/from"), "human, gpt or system"
            renamed = plain_turn(turn)
            patch: dict[str, JsonValue] | None = {f"{self.key}/{number}": renamed} if renamed else None
            fix = "write it as {from: human, gpt or system, value: text}" if renamed else None
            findings.add(BAD_TURN, saw, want, at=at, fix=fix, patch=patch)
            return ""
        if type(text) is not str:
            saw = f"value: {quote(text)}" if "value" in turn else "no 'value'"
            findings.add(BAD_TURN, saw, "text", at=self._at(index, number, "/value"))
            return ""
        size = len(text) if text.isascii() else _utf8_bytes(text)
        if size < 0:
            fix, patch = "write U+FFFD in their place", {f"{self.key}/{number}/value": SURROGATE.sub("\ufffd", text)}
            want = "text without lone surrogates"
            findings.add(NOT_TEXT, quote(text), want, at=self._at(index, number), fix=fix, patch=patch)
            return ""
        if "<|" in text and (found := SPECIAL.search(text)):
            fix, patch = "write &lt;| and |&gt;", {f"{self.key}/{number}/value": SPECIAL.sub(_escaped, text)}
            at = self._at(index, number, "/value")
            findings.add(SPECIAL_TOKEN, found.group(), "plain text", at=at, fix=fix, patch=patch)
        tags = text.count("<video>") + text.count("<image>") if "<" in text else 0
        self.text_bytes += size
        if role != "gpt":
            self.num_tags += tags
            return role
        self.answer_bytes += size
        if tags:
            fix = "write &lt;video&gt; or &lt;image&gt; where an answer speaks of the tag, or take it out"
            patch = {f"{self.key}/{number}/value": MEDIA_TAG.sub(_escaped, text)}
            want = "media tags in human turns only"
            findings.add(TAG_IN_ANSWER, quote(text), want, at=self._at(index, number), fix=fix, patch=patch)
        if is_silent(text):
            fix, want = "write the answer, or drop the record", "an answer"
            want += " after the reasoning" if REASONING.search(text) else ""
            findings.add(EMPTY_ANSWER, quote(text), want, at=self._at(index, number), fix=fix)
        return role

    def finish(self, findings: Collector) -> None:
        """Nothing is left over."""


def is_silent(text: str) -> bool:
    """Tell whether an answer holds nothing but reasoning, blanks and characters without a form, such as U+200B."""
    if text[:1].isalnum():  # the usual case
        return False
    said = REASONING.sub("", text) if "<think>" in text else text
    return not any(char.isprintable() and not char.isspace() for char in said)


def _escaped(found: re.Match[str]) -> str:
    return "&lt;" + found.group()[1:-1] + "&gt;"


def plain_turn(turn: Mapping[str, object]) -> dict[str, JsonValue] | None:
    """Return a turn of another spelling as LLaVA writes it: role and content, Human, assistant; None: it is none."""
    name, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    role = ROLES.get(name.strip().lower()) if type(name) is str else None
    return {"from": role, "value": text} if role is not None and type(text) is str else None


def keep_tags(turns: list[dict[str, object]], key: str, count: int) -> dict[str, JsonValue]:
    """Return the patch that leaves the first `count` media tags outside answers, and escapes the rest."""
    patch: dict[str, JsonValue] = {}
    left = count

    def escape_rest(found: re.Match[str]) -> str:
        nonlocal left
        left -= 1
        return found.group() if left >= 0 else _escaped(found)

    for number, turn in enumerate(turns):
        if ROLES[str(turn["from"])] != "gpt":
            old = str(turn["value"])
            new = MEDIA_TAG.sub(escape_rest, old)
            if new != old:
                patch[f"{key}/{number}/value"] = new
    return patch


def put_tags(turns: list[dict[str, object]], key: str, tags: str) -> dict[str, JsonValue]:
    """Return the patch that puts tags in front of the first question, where the loader puts their media."""
    first = next(number for number, turn in enumerate(turns) if ROLES[str(turn["from"])] == "human")
    return {f"{key}/{first}/value": f"{tags}\n{turns[first]['value']}"}


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
        self.said: dict[int, dict[str, list[float]]] = {}  # by record and key, where it is not one number for one video

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        self.fps = math.nan
        named = record.get("video") or record.get("videos")
        if not named:
            return
        count = len(named) if type(named) is list else 1
        for key in RATE_KEYS:
            if rates := read_rates(record.get(key), count):
                if key == "video_fps" and count == 1 and type(record[key]) is not list:
                    self.fps = rates[0]
                else:
                    self.said.setdefault(index, {})[key] = rates
        value = record.get("video_fps")
        if read_rates(value, count):
            return
        saw = f"video_fps: {quote(value)}" if "video_fps" in record else "no 'video_fps'"
        saw += f" for {count} videos" if type(value) is list else ""
        findings.add(
            VIDEO_FPS,
            saw,
            "a number of frames per second above 0",
            at=At(index, "/video_fps"),
            fix="write the frame rate of the video file",
        )

    def finish(self, findings: Collector) -> None:
        """Nothing is left over."""


RATE_KEYS: Final = ("video_fps", "fps")


def read_rates(value: object, count: int) -> list[float]:
    """Return the frame rate of each of `count` videos; [] if it is not that: one number for all, or one for each."""
    values: list[Any] = value if type(value) is list else [value] * count
    return [float(one) for one in values] if len(values) == count and all(map(is_positive, values)) else []


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
    """Finds ids that occur twice."""

    def __init__(self, key: str = "id") -> None:
        self.key = key
        self.seen = HashedRecords()
        self.repeated: set[int] = set()  # records that have the id of an earlier one

    def see(self, index: int, record: Mapping[str, object], findings: Collector) -> None:
        value = record.get(self.key)
        if type(value) in (str, int):
            self.seen.add(index, hash(str(value)))

    def finish(self, findings: Collector) -> None:
        seen, self.seen = self.seen, HashedRecords()
        pairs = [pair for part in seen.recurring() for pair in zip(*(each.tolist() for each in part), strict=True)]
        for later, first in sorted(pairs):
            record = seen.record(later)
            self.repeated.add(record)
            saw, at = f"the same {self.key} as record {seen.record(first)}", At(record, f"/{self.key}")
            patch = new_id(record, self.key)
            findings.add(DUPLICATE, saw, "an id of its own", at=at, fix="give it another one", patch=patch)


def new_id(record: int, key: str = "id") -> dict[str, JsonValue]:
    """Return the patch that names a record by its place."""
    return {key: f"record-{record}"}
