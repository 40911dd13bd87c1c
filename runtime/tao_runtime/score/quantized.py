"""What is said of a quantised model: what was made of what, how much smaller, and whether it may be called good."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, JsonValue

from tao_runtime.errors import Finding, Fix, Frozen
from tao_runtime.score.interval import Estimate, paired_difference

Verdict = Literal["good", "not_good", "undecided", "not_measured"]
# Share of the base's reaction to another video that the smaller model must still show.
LEAST_REACTION: Final = 0.25
MAX_RECORDS: Final = 1 << 17  # beyond this nobody is asked for more


class Sizes(Frozen):
    """Bytes of the weights by tower."""

    before: dict[str, int]
    after: dict[str, int]


class Accuracy(Frozen):
    """Both models on the same questions."""

    budget: float
    base: Estimate
    quantised: Estimate
    lost: Estimate = Field(description="base - quantised, interval for the same questions")
    both_right: int
    only_base: int
    only_quantised: int
    neither: int


class Reaction(Frozen):
    """How far other pixels move the logits of the first answer token, relative to their size; mean over records."""

    base: float
    quantised: float
    records: int


class TestAnswer(Frozen):
    """One question and what both models answer."""

    question: str
    base: str | None
    quantised: str | None


class QuantizeReport(Frozen):
    """What `quantized.json` holds, in the run and in the folder of the model."""

    schema_version: Literal["tao-run/quantized/1"] = Field(default="tao-run/quantized/1", alias="schema")
    verdict: Verdict = Field(description="good: the accuracy that may be lost is at or above the interval of the loss")
    spec_sha256: str
    source: str
    scheme: dict[str, JsonValue] = Field(description="what was done to the weights, as in plan.json")
    modules: int = Field(description="layers that were quantised")
    calibration: dict[str, int] = Field(default_factory=dict, description="samples, tokens, samples with media")
    versions: dict[str, str] = Field(description="what made the weights")
    sizes: Sizes
    accuracy: Accuracy | None = None
    reaction: Reaction | None = None
    test_answer: TestAnswer | None = None
    findings: tuple[Finding, ...] = ()


def count_pairs(pairs: list[tuple[bool, bool]], budget: float, base: Estimate, quantised: Estimate) -> Accuracy:
    """Return the comparison of (base right, quantised right) per question."""
    counts = {key: pairs.count(key) for key in ((True, True), (True, False), (False, True), (False, False))}
    both, only_base, only_quantised, neither = counts.values()
    return Accuracy(
        budget=budget,
        base=base,
        quantised=quantised,
        lost=paired_difference(both, only_base, only_quantised, neither),
        both_right=both,
        only_base=only_base,
        only_quantised=only_quantised,
        neither=neither,
    )


def judge_accuracy(accuracy: Accuracy | None) -> tuple[Verdict, tuple[Finding, ...]]:
    """Return whether the smaller model may be called good, and what is to be said of it."""
    if accuracy is None or accuracy.lost.value is None or accuracy.lost.high is None:
        return "not_measured", ()
    if (accuracy.base.value or 0.0) <= accuracy.budget:
        saw, want = (
            f"the base is right in {accuracy.base.value or 0.0:.1%} of {accuracy.base.n:,} answers",
            "a base that can lose",
        )
        return "undecided", (_finding("undecided", "warning", saw, want, "prove it on records that the base answers"),)
    lost, budget, high = accuracy.lost, accuracy.budget, accuracy.lost.high
    if accuracy.lost.value > budget:
        fix = "take a scheme of more bits, smaller groups or more calibration records; or raise the budget knowingly"
        return "not_good", (
            _finding("accuracy", "error", f"{_text(lost)} of accuracy lost", f"at most {budget:.1%}", fix),
        )
    if high > budget:
        enough = records_needed(accuracy)
        fix = f"answer about {enough:,} records" if enough else "answer more records"
        saw = f"{_text(lost)} of accuracy lost: {lost.n:,} records do not tell whether it is within {budget:.1%}"
        return "undecided", (_finding("undecided", "warning", saw, "an interval within the budget", fix),)
    return "good", ()


def records_needed(accuracy: Accuracy) -> int | None:
    """Return how many records would show a loss as it was seen to be within the budget; None: no number would."""
    cells = (accuracy.both_right, accuracy.only_base, accuracy.only_quantised, accuracy.neither)
    total = sum(cells)
    count = total
    while total and count <= MAX_RECORDS:
        high = paired_difference(*(round(cell * count / total) for cell in cells)).high
        if high is not None and high <= accuracy.budget:
            return count
        count = count * 5 // 4 + 1
    return None


def judge_reaction(reaction: Reaction | None) -> tuple[Finding, ...]:
    """Return what is to be said of a model that another video moves less than before."""
    if reaction is None:
        return ()
    if reaction.base <= 0:
        saw = "the model that was quantised answers the same whatever the video shows"
        return (_finding("media", "error", saw, "a model that looks", "look at the model before it is quantised"),)
    if reaction.quantised < LEAST_REACTION * reaction.base:
        saw = f"other pixels move the logits by {reaction.quantised:.3g}, and those of the base by {reaction.base:.3g}"
        fix = "take a scheme of more bits, or calibrate on records with media"
        return (_finding("media", "error", saw, f"at least {LEAST_REACTION:g} of the base's", fix),)
    return ()


def _text(lost: Estimate) -> str:
    assert lost.value is not None and lost.low is not None and lost.high is not None
    return f"{lost.value:.1%} [{lost.low:.1%}, {lost.high:.1%}]"


def _finding(name: str, severity: Literal["error", "warning"], saw: str, want: str, fix: str) -> Finding:
    return Finding(
        rule=f"quantize/{name}",
        severity=severity,
        where="proof.accuracy_budget" if name != "media" else "quantize.quantization_scheme",
        saw=saw,
        want=want,
        fix=Fix(text=fix),
    )
