"""How the answer to a closed question (yes/no, a direction, a letter) is found in a sentence.

A *mention* is a place where one of the values stands. It counts as an answer when it is
  exact      the whole text,
  stated     behind "the answer is", "Answer:", "I would say", (letters) "option",
  leading    the first word, and free: "No, ...", "No it does not", but not "No cars" or "No doubt",
  delimited  between punctuation: "The car stops, yes.",
  labelled   (letters) "(B)", "B)", "B. text",
  cued       (directions) "turns left", "to the right", "straight ahead".
A mention does not count behind a negation in its own clause ("not yes") or in a question ("yes or no?").
Mentions that count and disagree are a contradiction, and no mention is no answer: both are unparseable. Only for
letters, which an answer may list before choosing, does what is stated win over what is labelled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

_VALUES = {"yes_no": "yes|no", "direction": "left|right|straight"}
_MENTION = {
    # not inside a word, "left-hand", "isn't", "U.S."; "No. 5" is a number
    **{kind: re.compile(rf"(?<![\w'])(?<!\w[-.])(?:{v})(?!['.-]?\w)(?!\.\s*\d)", re.I) for kind, v in _VALUES.items()},
    "choice": re.compile(r"(?<![\w'])(?<!\w[-.])[A-Za-z](?!['.-]?\w)"),
}
_PUNCT = frozenset(".,;:!/|()[]{}—–-…。、")
_SURELY = "absolutely|definitely|certainly|clearly|obviously|simply|probably|likely|most likely|so|therefore|thus|hence"
_STATED = re.compile(
    r"(?:\b(?:answer|response|verdict|conclusion)(?:\s+to\s+[\w\s]{1,60}?)?"
    r"\s*(?:(?:is|was|would be|should be|must be)\b)?|\bi(?:'d| would)?\s+(?:say|choose|pick|select)\b)"
    rf"\s*[:=;,-]*\s*(?:(?:{_SURELY}|that|option|choice)\b[\s:,]*)*[(\[]*$",
    re.I,
)
_OPTION = re.compile(r"\b(?:option|choice)\s*[:(\[]*\s*$", re.I)
_IS_RIGHT = re.compile(r"[)\]]*\s+is\s+(?:the\s+)?(?:correct|right|best|answer)\b", re.I)
_CONNECTED_BEFORE = re.compile(rf"\b(?:and|or|well|then|{_SURELY})\s*$", re.I)
_CONNECTED_AFTER = re.compile(r"\s*(?:and|or)\b", re.I)
_CLAUSE = re.compile(r"\s+(?:it|there|he|she|they|the|this|that|these|those|because|since|as|i|we|you|but)\b", re.I)
_NEGATION = re.compile(r"\b(?:not|never|cannot|neither|nor|hardly)\b|n't\b", re.I)
_CLAUSE_BREAK = re.compile(r"[.,;:!?]|\bbut\b", re.I)
_PAIR = re.compile(r"\s*(?:[/|]|,?\s*\b(?:or|and)\b)\s*(?:option\s+)?[(\[]*\s*", re.I)
_MOVES = (
    "turn|go|goes|went|going|mov|head|continu|driv|drove|proceed|keep|kept|veer|steer|bear|travel|swerv|merg|advanc"
)
_CUE_BEFORE = re.compile(
    rf"(?:\b(?:{_MOVES})\w*\s+(?:slightly\s+|sharply\s+|hard\s+)?(?:(?:to|towards?)\s+)?(?:the\s+|its\s+)?"
    r"|\bto\s+(?:the|its)\s+)$",
    re.I,
)
_CUE_AFTER = re.compile(r"\s+(?:turn|turns|turning|ahead|forward|on)\b", re.I)
_NOT_A_CUE = re.compile(r"\s+(?:of|lane|side|away|now|before|after|behind)\b", re.I)
_OPTION_PREFIX = re.compile(r"^\s*(?:\([A-Za-z]\)|[A-Za-z][.):])\s+(?=\w)")
_MARKUP = re.compile(r"[\"*`_#]|(?<!\w)'|'(?!\w)")
_HOWS = ("stated", "labelled", "leading", "cued", "delimited")
_WRAPPING = " \t.,;:!()[]{}"
_REACH = 120  # characters before a mention in which its clause and its cue are looked for


@dataclass(frozen=True, slots=True)
class _Mention:
    value: str
    start: int
    end: int
    live: bool  # neither negated nor part of a question
    hows: frozenset[str]  # how it counts as an answer; empty: it does not


def read_closed(text: str, *, kind: str) -> tuple[str | None, str]:
    """Return (canonical value, rule) or (None, reason). `text` is free of tags."""
    text = "; ".join(line.strip() for line in _MARKUP.sub("", text).splitlines() if line.strip())
    if kind != "choice":
        text = _OPTION_PREFIX.sub("", text)
    bare = text.strip(_WRAPPING)
    if not bare:
        return None, "empty"
    if _MENTION[kind].fullmatch(bare):
        return _canonical(bare, kind), "exact"
    mentions = [_weigh(found, text, kind) for found in _MENTION[kind].finditer(text)]
    if _undecided(mentions, text):
        return None, "contradiction"
    return _decide(mentions, kind)


def _decide(mentions: list[_Mention], kind: str) -> tuple[str | None, str]:
    counted = [mention for mention in mentions if mention.hows]
    stated = [mention for mention in counted if "stated" in mention.hows]
    if kind == "choice" and stated:
        counted = stated
    if not counted:
        return None, "no-answer"
    values = {mention.value for mention in counted}
    if values == {"no"}:  # "No, I would rather call it a yes": any live yes makes a no worthless
        values |= {mention.value for mention in mentions if mention.live}
    if len(values) > 1:
        return None, "contradiction"
    hows = frozenset().union(*(mention.hows for mention in counted))
    return counted[0].value, next(how for how in _HOWS if how in hows)


def _weigh(found: re.Match[str], text: str, kind: str) -> _Mention:
    """Say in which ways one mention counts."""
    start, end = found.span()
    before, after = text[max(0, start - _REACH) : start], text[end : end + _REACH]
    clause = _CLAUSE_BREAK.split(before)[-1]
    live = not _NEGATION.search(clause) and not after.lstrip(" )]").startswith("?")
    hows = frozenset(_hows(found.group(), before, after, kind)) if live else frozenset()
    return _Mention(_canonical(found.group(), kind), start, end, live, hows)


def _hows(word: str, before: str, after: str, kind: str) -> list[str]:
    """Names of the ways in which a live mention counts as an answer."""
    if kind == "choice":
        return _hows_letter(word, before, after)
    hows = []
    free = _stands_free(after) or word.lower() == "yes"
    if free and _STATED.search(before):
        hows.append("stated")
    if free and not before.strip():
        hows.append("leading")
    if _stands_free(after, clause=False) and _stands_apart(before):
        hows.append("delimited")
    if kind == "direction" and not _NOT_A_CUE.match(after) and (_CUE_BEFORE.search(before) or _CUE_AFTER.match(after)):
        hows.append("cued")
    return hows


def _hows_letter(letter: str, before: str, after: str) -> list[str]:
    """As `_hows`. A lower-case letter, and A and I, which are words, need more around them than the others."""
    bracketed = before[-1:] in ("(", "[", "{") and after[:1] in (")", "]", "}")
    free = _stands_free(after)
    a_word = letter in "AI" or letter.islower()
    hows = []
    if (_STATED.search(before) or _OPTION.search(before)) and (free or not a_word):
        hows.append("stated" if _STATED.search(before) else "labelled")
    if letter.isupper() and _IS_RIGHT.match(after):
        hows.append("stated")
    if bracketed or after[:1] == ")" or (letter.isupper() and re.match(r"[.:]\s", after)):
        hows.append("labelled")
    if letter.isupper() and letter != "I" and free and not before.strip():
        hows.append("leading")
    if letter.isupper() and letter != "I" and _stands_free(after, clause=False) and _stands_apart(before):
        hows.append("delimited")
    if letter.islower() and not before.strip() and re.match(r"[.:]\s", after):
        hows.append("labelled")
    return hows


def _stands_free(after: str, *, clause: bool = True) -> bool:
    """Whether the word ends here: at the end, before punctuation, before and/or, or (clause) before a new clause."""
    rest = after.lstrip()
    if not rest or rest[0] in _PUNCT or _CONNECTED_AFTER.match(after):
        return True
    return clause and bool(_CLAUSE.match(after))


def _stands_apart(before: str) -> bool:
    """Whether nothing that the word belongs to stands before it."""
    rest = before.rstrip()
    return not rest or rest[-1] in _PUNCT or rest[-1] == "?" or bool(_CONNECTED_BEFORE.search(before))


def _undecided(mentions: list[_Mention], text: str) -> bool:
    """Whether two different values stand side by side ("yes and no", "A or B") outside a question."""
    pairs = pairwise(mentions)
    return any(
        one.value != two.value and two.live and _PAIR.fullmatch(text, one.end, two.start) is not None
        for one, two in pairs
    )


def _canonical(word: str, kind: str) -> str:
    return word.upper() if kind == "choice" else word.lower()
