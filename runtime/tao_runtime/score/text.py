"""Corpus metrics of free-form answers: BLEU, ROUGE and, as an extra, BERTScore. All in [0, 1]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from tao_runtime.errors import InputError
from tao_runtime.score.interval import Estimate, mean

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESAMPLES = 200
_SEED = 12345


def text_metrics(
    responses: Sequence[str],
    *,
    gts: Sequence[str],
    names: Sequence[str],
    options: Mapping[str, JsonValue] | None = None,
) -> dict[str, Estimate]:
    """Compute the named metrics (bleu, rouge, bertscore). A missing answer is an empty string, so it counts.

    `options` carries bertscore_model, bertscore_lang, bertscore_device, bertscore_batch_size.
    Raises InputError for an unknown name, and for bertscore where its extra is not installed.
    """
    makers: dict[str, Callable[[], dict[str, Estimate]]] = {
        "bleu": lambda: {"bleu": bleu(responses, gts=gts)},
        "rouge": lambda: rouge(responses, gts=gts),
        "bertscore": lambda: {"bertscore_f1": bertscore(responses, gts=gts, options=options or {})},
    }
    if unknown := [name for name in names if name not in makers]:
        raise InputError(f"metrics.names: {', '.join(unknown)}; want any of {', '.join(makers)}")
    return {key: value for name in names for key, value in makers[name]().items()}


def bleu(responses: Sequence[str], *, gts: Sequence[str]) -> Estimate:
    """Corpus BLEU of sacrebleu over 100; interval by resampling the answers with a fixed seed."""
    from sacrebleu.metrics import BLEU  # noqa: PLC0415  half a second, for text tasks only

    n = len(responses)
    if n == 0:
        return Estimate()
    metric = BLEU(effective_order=n == 1)
    value = metric.corpus_score(list(responses), [list(gts)]).score / 100
    # corpus BLEU is a function of summed n-gram counts, so a resample is a sum of rows of one table
    rows = np.asarray(metric._extract_corpus_statistics(list(responses), [list(gts)]))
    picks = np.random.default_rng(_SEED)
    sums = (rows[picks.integers(0, n, n)].sum(axis=0) for _ in range(_RESAMPLES))
    scores = [metric._compute_score_from_stats(list(row)).score / 100 for row in sums]
    low, high = np.quantile(scores, [0.025, 0.975])
    return Estimate(value=value, low=min(value, float(low)), high=max(value, float(high)), n=n)


def rouge(responses: Sequence[str], *, gts: Sequence[str]) -> dict[str, Estimate]:
    """ROUGE-1, ROUGE-2 and ROUGE-L F-measures without stemming, averaged over answers; normal interval."""
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415  imports nltk, for text tasks only

    kinds = ("rouge1", "rouge2", "rougeL")
    scorer = RougeScorer(kinds, use_stemmer=False)
    scores = [scorer.score(gt, response) for response, gt in zip(responses, gts, strict=True)]
    return {kind.lower(): _mean([score[kind].fmeasure for score in scores]) for kind in kinds}


def bertscore(responses: Sequence[str], *, gts: Sequence[str], options: Mapping[str, JsonValue]) -> Estimate:
    """BERTScore F1, averaged. Needs the extra `bertscore` and its model on this machine."""
    if find_spec("bert_score") is None:
        raise InputError("metrics.names: bertscore; want it installed. Fix: pip install 'tao-run[bertscore]'")
    from bert_score import score  # noqa: PLC0415  imports torch; only ever reached from an evaluation

    if not responses:
        return Estimate()
    model = options.get("bertscore_model")
    _, _, f1 = score(
        list(responses),
        list(gts),
        model_type=str(model) if model else None,
        lang=str(options.get("bertscore_lang") or "en"),
        device=str(options.get("bertscore_device") or "cpu"),
        batch_size=int(str(options.get("bertscore_batch_size") or 1)),
    )
    return _mean([float(value) for value in f1])


def _mean(values: Sequence[float]) -> Estimate:
    return mean(sum(values), sum(value * value for value in values), len(values))
