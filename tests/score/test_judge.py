"""A judgement says right or wrong, and wrong in which way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tao_runtime.score.judge import judge, token_f1


@pytest.mark.parametrize(
    ("said", "gt", "kind", "error"),
    [
        ("Yes, it is.", "yes", "yes_no", None),
        ("Yes", "no", "yes_no", "FP"),
        ("No.", "Yes", "yes_no", "FN"),
        ("maybe", "yes", "yes_no", "UNPARSEABLE"),
        (None, "yes", "yes_no", "UNPARSEABLE"),
        ("(C)", "B", "choice", "WRONG"),
        ("A Red  car.", "a red car", "text", None),
        ("a red car", "a red car", "choice", None),  # a truth that is no letter is compared as text
    ],
)
def test_judges(said: str | None, gt: str, kind: str, error: str | None) -> None:
    seen = judge(said, gt=gt, kind=kind)
    assert (seen.correct, seen.error_type) == (error is None, error)


@pytest.mark.parametrize(("said", "error"), [(" YES ", None), ("Yes.", "WRONG"), ("no", "FN"), (None, "UNPARSEABLE")])
def test_exact_reads_nothing_into_an_answer(said: str | None, error: str | None) -> None:
    assert judge(said, gt="yes", kind="yes_no", match="exact").error_type == error


def test_token_f1_by_hand() -> None:
    assert token_f1("the red car", "a red car") == pytest.approx(2 * 2 / 6)
    assert token_f1("red red", "red") == pytest.approx(2 * 1 / 3)
    assert (token_f1("", ""), token_f1("", "red")) == (1.0, 0.0)


@given(st.text(), st.text())
def test_token_f1_is_symmetric_and_bounded(one: str, other: str) -> None:
    assert token_f1(one, other) == token_f1(other, one)
    assert 0 <= token_f1(one, other) <= 1
