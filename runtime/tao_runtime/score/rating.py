"""How a rating from 1 to 5 is found in an answer, and how ratings agree: off by one, correlations with intervals.

A number counts where it is
  exact      the whole text, also as "4/5" or "4 out of 5",
  stated     behind "score", "rating", "answer" and the like in its clause, or before "/5" and "out of 5",
  leading    the first word, before punctuation: "4. The ball falls ...", but not "4 balls fall".
A range ("1 to 5") is no number, nor is 3.5. Numbers that count and disagree are a contradiction: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from tao_runtime.score.interval import Estimate, proportion

RATINGS: Final = ("1", "2", "3", "4", "5")
SAMPLES, SEED = 1000, 0  # of the bootstrap

_MARKUP = re.compile(r"[\"*`_#]")
_RANGE = re.compile(r"(?<![\w.])\d+\s*(?:-|–|—|to|and|or|through)\s*\d+(?![\w]|\.\d)", re.I)
_OUT_OF = re.compile(r"(?<![\w.,/-])(\d+(?:\.\d+)?)\s*(?:/|out of)\s*5(?![\w]|\.\d)", re.I)
_MENTION = re.compile(r"(?<![\w.,/%$-])[1-5](?![\w%/]|[.,]\d|-\w)")
_STATED = re.compile(r"\b(?:score|rating|rated?|rates|answer|grade|verdict)\b[^\d.;!?\n]{0,40}$", re.I)
_NEGATION = re.compile(r"\b(?:not|never|cannot|neither|nor)\b|n't\b", re.I)
_WRAPPING = " \t\r\n.,;:!?()[]{}"

Matrix = npt.NDArray[np.float64]


def read_rating(text: str) -> tuple[str | None, str]:
    """Return (rating, rule) or (None, reason). `text` is free of tags."""
    text = _RANGE.sub(" ", _MARKUP.sub("", text))
    given = [found.group(1) for found in _OUT_OF.finditer(text)]
    rest = _OUT_OF.sub(" ", text)
    bare = rest.strip(_WRAPPING)
    if not bare and not given:
        return None, "empty"
    counted = dict.fromkeys(given, "stated")
    for found in _MENTION.finditer(rest):
        before, after = rest[: found.start()], rest[found.end() :]
        stated = _STATED.search(before)
        if stated and not _NEGATION.search(stated.group()):
            counted[found.group()] = "stated"
        elif not before.strip(_WRAPPING) and re.match(r"\s*(?:[.,;:!)\]\n–—-]|$)", after):
            counted[found.group()] = "leading"
    if len(counted) > 1:
        return None, "contradiction"
    value, how = next(iter(counted.items()), ("", "no-answer"))
    if value not in RATINGS:
        return None, "no-answer"
    return value, "exact" if bare in ("", value) else how


def rating_metrics(confusion: Mapping[tuple[str, str], int]) -> dict[str, Estimate]:
    """Return what ratings have beyond accuracy, from (truth, answer) -> rows.

    An answer that is no rating is not within one of anything; correlations rest on answers that are ratings. Null
    where a correlation is not defined: fewer than two answers, or all truths, or all answers, the same.
    """
    truths = {truth: n for (truth, _), n in confusion.items() if truth in RATINGS}
    total = sum(n for (truth, _), n in confusion.items() if truth in truths)
    table = np.array([[confusion.get((truth, answer), 0) for answer in RATINGS] for truth in RATINGS], np.float64)
    near = sum(table[i, j] for i in range(5) for j in range(5) if abs(i - j) <= 1)
    return {
        "off_by_one_accuracy": proportion(int(near), total),
        "pearson": bootstrapped(table, pearson),
        "spearman": bootstrapped(table, spearman),
    }


def pearson(table: Matrix) -> float | None:
    """Return the correlation of ratings, from counts [truth, answer]; None where it is not defined."""
    levels = np.arange(1.0, 6.0)
    return _correlation(table, levels, levels)


def spearman(table: Matrix) -> float | None:
    """Return the correlation of ranks; ties have the mean of their ranks, as is usual."""
    return _correlation(table, _ranks(table.sum(1)), _ranks(table.sum(0)))


def _ranks(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean rank of each level: counts 2, 0, 3 are ranks 1.5, -, 4."""
    found: npt.NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return found


def _correlation(table: Matrix, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> float | None:
    n = table.sum()
    if n < 2:
        return None
    across, down = table.sum(1), table.sum(0)
    x, y = rows - across @ rows / n, columns - down @ columns / n
    spread = (across @ x**2) * (down @ y**2)
    # Compared by counts: a variance of rounding is no variance.
    if np.count_nonzero(across) < 2 or np.count_nonzero(down) < 2:
        return None
    return float(np.clip(x @ table @ y / np.sqrt(spread), -1.0, 1.0))


def bootstrapped(table: Matrix, figure: Callable[[Matrix], float | None]) -> Estimate:
    """Return a figure with the percentile interval of a bootstrap over records, seeded: the same counts, the same ends.

    Records with one truth and one answer are alike, so that drawing records is drawing counts from a multinomial.
    """
    value, n = figure(table), int(table.sum())
    if value is None:
        return Estimate(n=n)
    drawn = np.random.default_rng(SEED).multinomial(n, (table / n).ravel(), size=SAMPLES).reshape(-1, 5, 5)
    defined = [each for each in (figure(sample.astype(np.float64)) for sample in drawn) if each is not None]
    if len(defined) < SAMPLES / 2:
        return Estimate(value=value, n=n)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value=value, low=min(value, float(low)), high=max(value, float(high)), n=n)
