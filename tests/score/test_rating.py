"""Ratings from 1 to 5: what is read, what is not guessed, and correlations in closed cases with ties."""

from __future__ import annotations

import numpy as np
import pytest

from tao_runtime.score.answer import detect_kind, parse_answer
from tao_runtime.score.metrics import score
from tao_runtime.score.rating import RATINGS, bootstrapped, pearson, spearman
from tao_runtime.score.results import Result

TRUTHS, ANSWERS = [1, 2, 2, 3, 4, 5, 5, 5, 3, 1], [1, 3, 2, 2, 4, 4, 5, 3, 3, 2]


def rows(truths: list[object], answers: list[object]) -> list[Result]:
    pairs = zip(truths, answers, strict=True)
    return [Result(video_id=str(i), response=None if said is None else str(said), question="?", gt=str(gt))
            for i, (gt, said) in enumerate(pairs)]  # fmt: skip


def table(truths: list[int], answers: list[int]) -> np.ndarray:
    found = np.zeros((5, 5))
    for truth, answer in zip(truths, answers, strict=True):
        found[truth - 1, answer - 1] += 1
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("4", "4"), (" 4.", "4"), ("**4**", "4"), ("4/5", "4"), ("4 out of 5", "4"), ("(3)", "3")],
        *[("Score: 2", "2"), ("The physical plausibility score is 5.", "5"), ("I would rate it a 3", "3")],
        ("On a scale of 1 to 5, I would rate this video 2.", "2"),
        *[("4. The ball falls as it should.", "4"), ("<think>maybe 2</think><answer>3</answer>", "3")],
        ("The video has 3 balls. Rating: 4/5", "4"),
        *[
            ("", None),
            ("plausible", None),
            ("1-5", None),
            ("between 1 and 5", None),
            ("3.5", None),
            ("Score: 3.5", None),
        ],
        *[("0", None), ("6", None), ("10", None), ("7/5", None), ("4 or 5", None), ("3 balls fall", None)],
        *[("Score: 3. Score: 4.", None), ("The score is not 4", None), ("three", None), ("<think>4", None)],
    ],
)
def test_what_an_answer_says(text: str, value: str | None) -> None:
    assert parse_answer(text, kind="rating").value == value


def test_a_data_set_of_ratings_is_known_as_one() -> None:
    assert detect_kind(["1", "5", " 3.", "4/5"]) == "rating"
    assert detect_kind(["1", "5", "it falls"]) == "text"
    assert detect_kind(["1", "6"]) == "text"


def test_figures_of_a_known_case() -> None:
    """Correlations are those of scipy 1.17.1; 5 of 10 right, 9 of 10 within one."""
    report = score(rows(TRUTHS, ANSWERS))
    figures = report.metrics
    assert report.kind == "rating"
    assert figures["accuracy"].value == 0.5 and figures["off_by_one_accuracy"].value == 0.9
    assert figures["pearson"].value == pytest.approx(0.820363853319395, abs=1e-12)
    assert figures["spearman"].value == pytest.approx(0.8216727185900543, abs=1e-12)
    for name in ("accuracy", "off_by_one_accuracy", "pearson", "spearman"):
        assert figures[name].low < figures[name].value < figures[name].high
    assert score(rows(TRUTHS, ANSWERS)) == report  # the bootstrap is seeded


def test_what_is_no_rating_counts_as_wrong_and_correlates_with_nothing() -> None:
    report = score(rows([*TRUTHS, 3, 4], [*ANSWERS, "plausible", "3.5"]), kind="rating")
    assert (report.n, report.unparseable) == (12, 2)
    assert report.metrics["accuracy"].value == pytest.approx(5 / 12)
    assert report.metrics["off_by_one_accuracy"].value == pytest.approx(9 / 12)
    assert report.metrics["pearson"].value == score(rows(TRUTHS, ANSWERS)).metrics["pearson"].value
    assert report.metrics["pearson"].n == 10


@pytest.mark.parametrize("answers", [[3] * 10, [None] * 10, ["?"] * 9 + [3]])
def test_a_correlation_that_is_not_defined_is_null(answers: list[object]) -> None:
    report = score(rows(TRUTHS, answers), kind="rating")
    for name in ("pearson", "spearman"):
        estimate = report.metrics[name]
        assert estimate.value is estimate.low is estimate.high is None
    assert "NaN" not in report.model_dump_json()


def test_perfect_and_reversed() -> None:
    levels = [1, 2, 3, 4, 5]
    for figure in (pearson, spearman):
        assert figure(table(levels, levels)) == pytest.approx(1.0)
        assert figure(table(levels, levels[::-1])) == pytest.approx(-1.0)
    # Any rising map keeps ranks, and bends the line.
    assert spearman(table([1, 2, 3], [1, 2, 5])) == pytest.approx(1.0)
    assert pearson(table([1, 2, 3], [1, 2, 5])) == pytest.approx(0.9607689, abs=1e-6)


def test_more_records_narrow_the_interval() -> None:
    few, many = table(TRUTHS, ANSWERS), 25 * table(TRUTHS, ANSWERS)
    widths = [each.high - each.low for each in (bootstrapped(few, pearson), bootstrapped(many, pearson))]
    assert widths[1] < widths[0] / 3
    assert len(RATINGS) == 5
