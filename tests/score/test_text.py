"""Text metrics equal the libraries that define them, and keep their value inside the interval."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import sacrebleu

from tao_runtime.errors import InputError
from tao_runtime.score.text import text_metrics

SAID = ["the cat sat on the mat today", "a red car turns left at the light", "nobody"]
TRUE = ["the cat sat on a mat today", "a red car turns left at the crossing", "a dog"]


def test_bleu_is_sacrebleu_over_one_hundred() -> None:
    figure = text_metrics(SAID, gts=TRUE, names=["bleu"])["bleu"]
    assert figure.value == pytest.approx(sacrebleu.corpus_bleu(SAID, [TRUE]).score / 100)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert figure == text_metrics(SAID, gts=TRUE, names=["bleu"])["bleu"]


def test_rouge_by_hand() -> None:
    """rouge1: 6 of 7 words each way; 7 of 8; none."""
    figures = text_metrics(SAID, gts=TRUE, names=["rouge"])
    assert set(figures) == {"rouge1", "rouge2", "rougel"}
    assert figures["rouge1"].value == pytest.approx((6 / 7 + 7 / 8 + 0) / 3)


def test_nothing_to_score_is_null() -> None:
    assert {figure.value for figure in text_metrics([], gts=[], names=["bleu", "rouge"]).values()} == {None}


def test_unknown_metric_names_the_known() -> None:
    with pytest.raises(InputError, match="meteor; want any of bleu, rouge, bertscore"):
        text_metrics(SAID, gts=TRUE, names=["meteor"])


@pytest.mark.skipif(find_spec("bert_score") is not None, reason="the extra is installed")
def test_bertscore_names_its_extra() -> None:
    with pytest.raises(InputError, match=r"tao-run\[bertscore\]"):
        text_metrics(SAID, gts=TRUE, names=["bertscore"])
