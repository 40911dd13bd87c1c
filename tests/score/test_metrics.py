"""Figures equal what one gets by hand, and silence never looks like skill."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tao_runtime.errors import InputError
from tao_runtime.score.interval import f1_score, mean, proportion
from tao_runtime.score.metrics import (
    MetricsReport,
    binary_metrics,
    compare,
    judge_row,
    kind_of_task,
    score,
    write_metrics,
)
from tao_runtime.score.results import Result


def rows(*pairs: tuple[str | None, str]) -> list[Result]:
    return [Result(video_id=str(i), response=said, question="?", gt=gt) for i, (said, gt) in enumerate(pairs)]


def test_binary_equals_the_hand_calculation() -> None:
    metrics = binary_metrics(tp=8, fp=2, tn=6, fn=4)
    values = {name: metrics[name].value for name in metrics}
    want = {"accuracy": 14 / 20, "balanced_accuracy": (8 / 12 + 6 / 8) / 2, "precision": 0.8, "recall": 8 / 12}
    assert values == pytest.approx(want | {"f1": 2 * 0.8 * (8 / 12) / (0.8 + 8 / 12)})


def test_wilson_equals_the_roots_of_its_equation() -> None:
    """The interval's ends are the p with |k/n - p| = z sqrt(p (1 - p) / n)."""
    estimate = proportion(95, 100)
    for end in (estimate.low, estimate.high):
        assert abs(0.95 - end) == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / 100))
    assert (round(estimate.low, 3), round(estimate.high, 3)) == (0.888, 0.978)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_every_interval_holds_its_value(tp: int, fp: int, tn: int, fn: int) -> None:
    for figure in binary_metrics(tp=tp, fp=fp, tn=tn, fn=fn).values():
        if figure.value is not None:
            assert 0 <= figure.low <= figure.value <= figure.high <= 1
            assert figure.high > figure.low


def test_nothing_measured_is_null_and_never_zero_or_one() -> None:
    report = score([], kind="yes_no")
    assert report.n == 0
    assert {figure.value for figure in report.metrics.values()} == {None}
    assert f1_score(0, 0, 0).value is proportion(0, 0).value is mean(0, 0, 0).value is None


def test_unparseable_answers_count_as_wrong_and_are_reported() -> None:
    """Ten negatives, one answered right, nine with noise: a known scorer calls that recall 1.0 and accuracy 1.0."""
    report = score(rows(("no", "no"), *[("hm", "no")] * 9, ("hm", "yes")))
    assert (report.unparseable, report.counts["FP"], report.counts["FN"], report.counts["TN"]) == (10, 9, 1, 1)
    assert report.metrics["accuracy"].value == pytest.approx(1 / 11)
    assert report.metrics["recall"].value == 0


def test_missing_answers_count_as_wrong_apart_from_unparseable() -> None:
    gone = Result(video_id="9", response=None, question="?", gt="yes", error_type="MISSING")
    report = score([*rows(("yes", "yes"), (None, "yes")), gone])
    assert (report.n, report.correct, report.missing, report.unparseable) == (3, 1, 1, 1)
    assert report.confusion == {"yes": {"MISSING": 1, "UNPARSEABLE": 1, "yes": 1}}


def test_directions_per_class() -> None:
    report = score(rows(("left", "left"), ("turns right", "left"), ("right", "right"), ("straight", "straight")))
    assert report.kind == "direction"
    assert report.per_class["left"].recall.value == 0.5
    assert report.per_class["right"].precision.value == 0.5
    assert report.metrics["balanced_accuracy"].value == pytest.approx((0.5 + 1 + 1) / 3)


def test_letters_are_read_from_phrases() -> None:
    report = score(rows(("Answer: B", "B"), ("(A)", "A"), ("C", "A")))
    assert (report.kind, report.correct, report.counts) == ("choice", 2, {"WRONG": 1})


def test_soft_accuracy_is_the_share_above_the_threshold() -> None:
    report = score(rows(("the red car", "a red car"), ("bus", "a red car")), kind="text", soft_threshold=0.6)
    assert report.metrics["soft_accuracy"].value == 0.5
    assert report.metrics["token_f1"].value == pytest.approx((2 / 3 + 0) / 2)
    assert report.metrics["accuracy"].value == 0


def test_base_stands_beside_tuned() -> None:
    tuned, base = score(rows(("yes", "yes"), ("no", "no"))), score(rows(("no", "yes"), ("no", "no")))
    report = compare(tuned, base=base, base_model="org/base")
    assert report.base.metrics["accuracy"].value == 0.5
    assert report.base.difference["accuracy"].value == 0.5
    assert report.base.difference["accuracy"].low < 0.5 < report.base.difference["accuracy"].high


def test_a_judged_row_says_what_was_wrong() -> None:
    judged = [judge_row(row, kind="yes_no") for row in rows(("Yes, it is", "no"), ("no", "yes"), (None, "no"))]
    assert [row.error_type for row in judged] == ["FP", "FN", "UNPARSEABLE"]
    assert not any(row.correct for row in judged)


def test_metrics_file_reads_back(tmp_path: Path) -> None:
    report = score(rows(("yes", "yes")))
    write_metrics(report, tmp_path / "metrics.json")
    value = json.loads((tmp_path / "metrics.json").read_text())
    assert value["schema"] == "tao-run/metrics/1"
    assert MetricsReport.model_validate(value) == report
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_unknown_task_names_those_that_exist() -> None:
    assert kind_of_task("its_directionality") == "direction"
    with pytest.raises(InputError, match="'mcq'"):
        kind_of_task("vqa")
