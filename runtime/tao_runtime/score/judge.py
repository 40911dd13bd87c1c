"""Judging one answer against its ground truth: right, or wrong in which way."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from tao_runtime.score.answer import Kind, match_exact, parse_answer, parse_truth

ErrorType = Literal["FP", "FN", "WRONG", "UNPARSEABLE", "MISSING"]
Match = Literal["parsed", "exact"]

_TOKEN = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of one answer. `error_type` is None exactly when `correct`."""

    truth: str  # canonical ground truth
    parsed: str | None
    correct: bool
    error_type: ErrorType | None


def judge(response: str | None, *, gt: str, kind: Kind, match: Match = "parsed") -> Judgement:
    """Judge one answer. `exact` compares `.lower().strip()` and never calls anything but null unparseable.

    A ground truth that is not of `kind` is compared as text.
    """
    truth = parse_truth(gt, kind=kind)
    if truth is None:
        kind, truth = "text", parse_truth(gt, kind="text") or gt.strip()
    parsed = parse_answer(response, kind=kind).value
    if match == "exact" and response is not None:
        correct = match_exact(response, gt)
        return Judgement(truth, parsed, correct, None if correct else _wrong(truth, parsed))
    if parsed is None:
        return Judgement(truth, None, False, "UNPARSEABLE")
    correct = parsed == truth
    return Judgement(truth, parsed, correct, None if correct else _wrong(truth, parsed))


def token_f1(response: str, gt: str) -> float:
    """Overlap of two bags of lower-cased words: 2 x common / (words + words); two empty texts agree.

    "the red car" against "a red car": 2 * 2 / (3 + 3) = 0.667.
    """
    ours, theirs = Counter(_TOKEN.findall(response.lower())), Counter(_TOKEN.findall(gt.lower()))
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 1.0


def _wrong(truth: str, parsed: str | None) -> ErrorType:
    if (truth, parsed) == ("no", "yes"):
        return "FP"
    return "FN" if (truth, parsed) == ("yes", "no") else "WRONG"
