"""The parser reads what is said, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tao_runtime.score.answer import CLOSED_KINDS, detect_kind, match_exact, normalise_text, parse_answer

YES_NO = {
    "Yes": "yes",
    "yes.": "yes",
    "ＹＥＳ！": "yes",
    "“No”": "no",
    "**No**": "no",
    "Yes, because there is no car": "yes",
    "Yes there is": "yes",
    "No, there is a bus": "no",
    "No it does not": "no",
    "No—the car waits": "no",
    "(A) yes": "yes",
    "B. no": "no",
    "answer:\nNo": "no",
    "The answer is definitely yes.": "yes",
    "I would say yes": "yes",
    "The car stops, yes.": "yes",
    "yes or no? Yes.": "yes",
    "Is the answer yes? No.": "no",
    "<think>no, maybe</think><answer>yes</answer>": "yes",
    "so it seems</think>No.": "no",
    "\\boxed{yes}<|im_end|>": "yes",
    "No doubt, yes": "yes",
    "It is not the case, no.": "no",
    "No doubt about it.": None,
    "Not yes": None,
    "The answer is not yes": None,
    "It is not the case that the answer is yes": None,
    "It is not the case that a car stops": None,
    "No cars are visible": None,
    "No. 5 bus": None,
    "Yes?": None,
    "Yes and no": None,
    "yes/no": None,
    "whether the answer is yes or no is unclear": None,
    "No, I would rather call it a yes": None,
    "No.\nYes.": None,
    "<answer>yes</answer><answer>no</answer>": None,
    "<think>Yes.": None,
    "<answer></answer>": None,
    "yesterday": None,
    "": None,
}
CHOICE = {
    "B": "B",
    "b": "B",
    "(B)": "B",
    "B.": "B",
    "B) left": "B",
    "a) yes": "A",
    "Answer: B": "B",
    "The answer is B": "B",
    "The answer is (b).": "B",
    "B because it turns": "B",
    "B is correct": "B",
    "Option C": "C",
    "I think it is (C) the car": "C",
    "The answer is B, not C": "B",
    "A) left\nB) right\nAnswer: B": "B",
    "A car stops": None,
    "The answer is a car": None,
    "I, for one": None,
    "A. left B. right": None,
    "(A) or (B)": None,
    "Both A and B": None,
    "B, C": None,
    "not (B)": None,
}
DIRECTION = {
    "Left.": "left",
    "A) left": "left",
    "turning to the right": "right",
    "straight ahead": "straight",
    "The car turns left, not right": "left",
    "The car left the road": None,
    "right away": None,
    "left or right": None,
    "Right, the car goes straight": None,
}


_WORDS = "yes no A B ( ) . , ? left not or the answer is <think> </think> <answer> </answer> ' - <b>"
PIECES = _WORDS.split()


@pytest.mark.parametrize(("text", "want"), YES_NO.items())
def test_yes_no(text: str, want: str | None) -> None:
    assert parse_answer(text, kind="yes_no").value == want


@pytest.mark.parametrize(("text", "want"), CHOICE.items())
def test_choice(text: str, want: str | None) -> None:
    assert parse_answer(text, kind="choice").value == want


@pytest.mark.parametrize(("text", "want"), DIRECTION.items())
def test_direction(text: str, want: str | None) -> None:
    assert parse_answer(text, kind="direction").value == want


@pytest.mark.parametrize("value", [None, True, 3, ["yes"]])
def test_what_is_no_text_is_no_answer(value: object) -> None:
    assert parse_answer(value, kind="yes_no").how == "null"


@pytest.mark.parametrize("kind", [*CLOSED_KINDS, "text"])
@given(text=st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map(" ".join)))
def test_never_raises_and_reads_its_own_output_back(kind: str, text: str) -> None:
    value = parse_answer(text, kind=kind).value
    assert value is None or parse_answer(value, kind=kind).value == value


@given(st.text())
def test_normalising_text_is_idempotent(text: str) -> None:
    assert normalise_text(normalise_text(text)) == normalise_text(text)


@pytest.mark.parametrize(
    ("truths", "kind"),
    [
        (["Yes", "no."], "yes_no"),
        (["left", "Straight"], "direction"),
        (["A", "(b)", "C. a bus"], "choice"),
        (["yes", "no", "a red car"], "text"),
        (["Yes, there is"], "text"),
        ([], "text"),
    ],
)
def test_detects_a_kind_only_if_all_are_of_it(truths: list[str], kind: str) -> None:
    assert detect_kind(truths) == kind


def test_exact_match_lowers_and_strips_and_nothing_else() -> None:
    assert match_exact(" YES\n", "yes")
    assert not match_exact("yes.", "yes")
