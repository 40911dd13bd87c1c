"""The one answer parser: what a generated text says, or nothing. Evaluation and gap analysis both read answers here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tao_runtime.score.closed import read_closed
from tao_runtime.score.rating import read_rating

Kind = Literal["yes_no", "direction", "choice", "rating", "text"]
CLOSED_KINDS: tuple[Kind, ...] = ("yes_no", "direction", "choice", "rating")

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|(?=<answer>)|\Z)", re.IGNORECASE | re.DOTALL)
_THINK = re.compile(r"<(/?)think>", re.IGNORECASE)
_TAG = re.compile(r"<\|[^|<>]*\|>|</?[a-zA-Z][\w-]*/?>")  # <|im_end|>, <video>, </s>
_BOXED = re.compile(r"\\(?:boxed|text)\{([^{}]*)\}")
_SHORT = 64  # characters
_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"'})
_OPENING = " \t\r\n\"'`*"
_CLOSING = _OPENING + ".,;:!?…。"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer says. `value` is canonical, and None where the text cannot be read: nothing is ever guessed.

    Canonical: `yes`/`no`; `left`/`right`/`straight`; one upper-case letter; `1` to `5`; for text the normalised
    text itself.
    `how` names the rule that read it (exact, stated, leading, ...) or why nothing did (null, unclosed-think,
    contradiction, empty, no-answer).
    """

    value: str | None
    kind: Kind
    how: str


def parse_answer(text: object, *, kind: Kind) -> Parsed:
    """Read one answer; never raises. Reasoning in `<think>` is dropped, `<answer>` wins over everything around it.

    Several `<answer>` blocks must agree. A `<think>` that never closes means the answer was cut off: unparseable.
    """
    if not isinstance(text, str):
        return Parsed(None, kind, "null")
    return _parse_short(text, kind) if len(text) <= _SHORT else _parse(text, kind)


def _parse(text: str, kind: Kind) -> Parsed:
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    body = _after_thinking(text)
    if body is None:
        return Parsed(None, kind, "unclosed-think")
    blocks = _ANSWER.findall(body)
    readings = [_read(block, kind) for block in blocks or [body]]
    values = {value for value, _ in readings}
    if len(values) > 1:
        return Parsed(None, kind, "contradiction")
    value, how = readings[-1]
    return Parsed(value, kind, "answer-tag" if blocks and value is not None else how)


_parse_short = lru_cache(maxsize=4096)(_parse)  # short answers repeat; bounded to 4096 x 64 characters


def match_exact(response: str, gt: str) -> bool:
    """Compare as the first gap analyser of this format did: lower-cased and stripped, nothing else."""
    return response.lower().strip() == gt.lower().strip()


def detect_kind(ground_truths: Iterable[str]) -> Kind:
    """Return the kind that *every* ground truth is of, else text. One free-form truth makes the whole set text."""
    detector = KindDetector()
    for gt in ground_truths:
        detector.see(gt)
    return detector.kind


class KindDetector:
    """`detect_kind` as a fold, for sets that are streamed."""

    def __init__(self) -> None:
        self._possible = CLOSED_KINDS
        self._seen = False

    def see(self, gt: str) -> tuple[Kind, ...]:
        """Rule out the kinds that this ground truth is not of, and return those that it is of."""
        kinds = kinds_of(gt)
        self._seen = True
        self._possible = tuple(kind for kind in self._possible if kind in kinds)
        return kinds

    @property
    def kind(self) -> Kind:
        return self._possible[0] if self._seen and self._possible else "text"


@lru_cache(maxsize=4096)
def kinds_of(gt: str) -> tuple[Kind, ...]:
    """The closed kinds that a ground truth is of. It has to *be* the answer ("Yes.", "(B)", "B. left")."""
    readings = [parse_answer(gt, kind=kind) for kind in CLOSED_KINDS]
    return tuple(each.kind for each in readings if each.value is not None and each.how in ("exact", "labelled"))


def parse_truth(gt: str, *, kind: Kind) -> str | None:
    """Canonical form of a ground truth; None where it is not of this kind."""
    return parse_answer(gt, kind=kind).value


def normalise_text(text: str) -> str:
    """Case-folded, tags and quotes removed, spaces collapsed, closing punctuation stripped. Idempotent."""
    while (done := _normalise_once(text)) != text:  # case folding can undo NFKC, and cutting one tag can close another
        text = done
    return text


def _normalise_once(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES).casefold()
    text = " ".join(_TAG.sub(" ", text).split())
    return text.lstrip(_OPENING).rstrip(_CLOSING)


def _after_thinking(text: str) -> str | None:
    """Text behind the last `</think>` (the opening tag may sit in the prompt), or None if thinking never ended."""
    marks = list(_THINK.finditer(text))
    if not marks:
        return text
    return text[marks[-1].end() :] if marks[-1].group(1) else None


def _read(text: str, kind: Kind) -> tuple[str | None, str]:
    text = _BOXED.sub(r" \1 ", _TAG.sub(" ", text))
    if kind == "text":
        value = normalise_text(text)
        return (value, "exact") if value else (None, "empty")
    return read_rating(text) if kind == "rating" else read_closed(text, kind=kind)
