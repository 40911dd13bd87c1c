"""Whether a quantised model may be called good: the paired interval, the budget, and what is said of a blind model."""

from __future__ import annotations

import pytest

from tao_runtime.score.interval import Estimate, difference, paired_difference, proportion
from tao_runtime.score.quantized import (
    Accuracy,
    Reaction,
    count_pairs,
    judge_accuracy,
    judge_reaction,
    records_needed,
)


def compared(both: int, only_base: int, only_quantised: int, neither: int, *, budget: float = 0.02) -> Accuracy:
    pairs = [(True, True)] * both + [(True, False)] * only_base
    pairs += [(False, True)] * only_quantised + [(False, False)] * neither
    n = len(pairs)
    return count_pairs(pairs, budget, proportion(both + only_base, n), proportion(both + only_quantised, n))


def test_the_paired_interval_is_the_published_one() -> None:
    """Newcombe 1998, Statistics in Medicine 17, 2635-2650, table of examples: 36, 12, 2, 0 by method 10."""
    found = paired_difference(36, 12, 2, 0)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    assert (found.n, paired_difference(0, 0, 0, 0)) == (50, Estimate())


def test_the_same_questions_tell_more_than_other_ones_would() -> None:
    paired, other = paired_difference(85, 5, 2, 8), difference(proportion(90, 100), proportion(87, 100))
    assert paired.value == other.value
    assert paired.high - paired.low < other.high - other.low  # type: ignore[operator]


@pytest.mark.parametrize(
    ("cells", "verdict", "words"),
    [
        ((960, 5, 5, 30), "good", []),
        ((90, 6, 0, 4), "not_good", ["6.0% [", "of accuracy lost; want at most 2.0%"]),
        ((48, 0, 0, 2), "undecided", ["50 records do not tell whether it is within 2.0%", "answer about"]),
        ((0, 0, 0, 400), "undecided", ["the base is right in 0.0% of 400 answers; want a base that can lose"]),
    ],
)
def test_a_model_is_good_only_where_the_interval_says_so(
    cells: tuple[int, int, int, int], verdict: str, words: list[str]
) -> None:
    found, findings = judge_accuracy(compared(*cells))
    text = "\n".join(finding.render() for finding in findings)
    assert found == verdict and all(word in text for word in words), text
    assert [finding.severity for finding in findings] == {"good": [], "not_good": ["error"]}.get(verdict, ["warning"])


def test_nothing_measured_is_not_good() -> None:
    assert judge_accuracy(None) == ("not_measured", ())


def test_the_number_of_records_that_is_named_is_enough() -> None:
    accuracy = compared(48, 0, 0, 2)
    count = records_needed(accuracy)
    assert count is not None and count > 50
    assert judge_accuracy(compared(round(count * 0.96), 0, 0, round(count * 0.04)))[0] == "good"
    assert records_needed(compared(40, 6, 0, 4)) is None, "a loss beyond the budget does not become less by counting"


@pytest.mark.parametrize(
    ("base", "quantised", "words"),
    [
        (0.5, 0.4, ""),
        (0.5, 0.05, "other pixels move the logits by 0.05, and those of the base by 0.5; want at least 0.25 of the"),
        (0.0, 0.0, "answers the same whatever the video shows"),
    ],
)
def test_a_model_that_no_longer_looks_is_named(base: float, quantised: float, words: str) -> None:
    findings = judge_reaction(Reaction(base=base, quantised=quantised, records=8))
    assert bool(findings) == bool(words) and all(words in finding.render() for finding in findings)
