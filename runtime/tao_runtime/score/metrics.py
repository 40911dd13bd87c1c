"""metrics.json: how good the answers are, each figure with a 95 % interval.

An answer that cannot be read, and one that is missing, counts as wrong: in the binary counts as FN where yes was right
and as FP where no was, so TP + FP + TN + FN is always the number of questions, and silence never looks like precision.
Both are also reported apart.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from tao_runtime.errors import Frozen, InputError
from tao_runtime.score.answer import Kind, detect_kind
from tao_runtime.score.interval import Estimate, difference, f1_score, mean, mean_of, proportion
from tao_runtime.score.judge import ErrorType, Match, judge, token_f1
from tao_runtime.score.rating import rating_metrics
from tao_runtime.score.results import Result
from tao_runtime.score.text import text_metrics as compute_text_metrics

UNPARSEABLE = "UNPARSEABLE"
MISSING = "MISSING"
TASK_KINDS: Mapping[str, Kind | None] = {
    "": None,  # detected from the ground truths
    "general": None,
    "binary": "yes_no",
    "its_directionality": "direction",
    "mcq": "choice",
    "rating": "rating",
    "text": "text",
}


class ClassMetrics(Frozen):
    """One ground-truth class."""

    n: int
    correct: int
    recall: Estimate
    precision: Estimate


class Comparison(Frozen):
    """The base model on the same questions, and tuned minus base."""

    model: str
    metrics: dict[str, Estimate]
    difference: dict[str, Estimate]


class MetricsReport(Frozen):
    """All figures of one evaluation."""

    schema_version: Literal["tao-run/metrics/1"] = Field(default="tao-run/metrics/1", alias="schema")
    kind: Kind
    match: Match = "parsed"
    n: int = Field(description="questions, answered or not")
    correct: int
    unparseable: int
    missing: int
    counts: dict[str, int] = Field(description="TP FP TN FN of a yes/no task; rows by error type")
    metrics: dict[str, Estimate]
    per_class: dict[str, ClassMetrics] = Field(default_factory=dict)
    confusion: dict[str, dict[str, int]] = Field(
        default_factory=dict, description="ground truth -> answer, UNPARSEABLE or MISSING -> rows; empty for text"
    )
    base: Comparison | None = None
    spec_sha256: str | None = None


def kind_of_task(task: str) -> Kind | None:
    """Kind of answer that a task.type asks for; None: detect it. Raises InputError for a task that does not exist."""
    if task not in TASK_KINDS:
        raise InputError(f"task.type: {task!r}; want any of {', '.join(repr(name) for name in TASK_KINDS)}")
    return TASK_KINDS[task]


def judge_row(row: Result, *, kind: Kind, match: Match = "parsed") -> Result:
    """Return the row with parsed, correct and error_type filled in. MISSING stays MISSING."""
    if row.error_type == MISSING:
        return row.model_copy(update={"parsed": None, "correct": False})
    seen = judge(row.response, gt=row.gt, kind=kind, match=match)
    return row.model_copy(update={"parsed": seen.parsed, "correct": seen.correct, "error_type": seen.error_type})


def score(
    rows: Iterable[Result],
    *,
    kind: Kind | None = None,
    match: Match = "parsed",
    text_metrics: Sequence[str] = (),
    soft_threshold: float | None = None,
    options: Mapping[str, JsonValue] | None = None,
) -> MetricsReport:
    """Score an evaluation. `kind` None detects it, which needs the rows in memory, as do `text_metrics`."""
    if kind is None:
        rows = list(rows)
        kind = detect_kind(row.gt for row in rows)
    tally = _Tally(kind, match, soft_threshold, keep_texts=bool(text_metrics))
    for row in rows:
        tally.see(row)
    texts = compute_text_metrics(tally.responses, gts=tally.gts, names=text_metrics, options=options)
    return tally.report(texts)


def compare(tuned: MetricsReport, *, base: MetricsReport, base_model: str) -> MetricsReport:
    """Return `tuned` with the base beside it."""
    shared = tuned.metrics.keys() & base.metrics.keys()
    deltas = {name: difference(tuned.metrics[name], base.metrics[name]) for name in tuned.metrics if name in shared}
    return tuned.model_copy(update={"base": Comparison(model=base_model, metrics=base.metrics, difference=deltas)})


def write_metrics(report: MetricsReport, path: Path) -> None:
    """Write metrics.json; the file appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(report.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


class _Tally:
    """Counts of one pass; constant memory for closed kinds."""

    def __init__(self, kind: Kind, match: Match, soft_threshold: float | None, *, keep_texts: bool) -> None:
        self.kind, self.match, self.soft_threshold, self.keep_texts = kind, match, soft_threshold, keep_texts
        self.confusion: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[ErrorType] = Counter()
        self.n = self.correct = self.soft = 0
        self.f1_sum = self.f1_squares = 0.0
        self.right_by_class: Counter[str] = Counter()
        self.responses: list[str] = []
        self.gts: list[str] = []

    def see(self, row: Result) -> None:
        seen = judge(row.response, gt=row.gt, kind=self.kind, match=self.match)
        error: ErrorType | None = "MISSING" if row.error_type == MISSING else seen.error_type
        correct = seen.correct and error is None
        self.n += 1
        self.correct += correct
        if self.kind == "text" or self.soft_threshold is not None:
            self._see_tokens(row, error)
        if error is not None:
            self.errors[error] += 1
        if self.kind != "text":
            answer = MISSING if error == "MISSING" else seen.parsed or UNPARSEABLE
            self.confusion[seen.truth, answer] += 1
            self.right_by_class[seen.truth] += correct
        if self.keep_texts:
            self.responses.append(row.response or "")
            self.gts.append(row.gt)

    def _see_tokens(self, row: Result, error: ErrorType | None) -> None:
        f1 = 0.0 if error == "MISSING" else token_f1(row.response or "", row.gt)
        self.soft += self.soft_threshold is not None and error != "MISSING" and f1 >= self.soft_threshold
        self.f1_sum += f1
        self.f1_squares += f1 * f1

    def report(self, texts: dict[str, Estimate]) -> MetricsReport:
        metrics = {"accuracy": proportion(self.correct, self.n)}
        per_class = self._per_class()
        counts: dict[str, int] = {str(error): count for error, count in self.errors.items()}
        if self.kind == "yes_no":
            binary = self._binary()
            counts |= binary
            metrics |= binary_metrics(**{key.lower(): value for key, value in binary.items()})
        elif per_class:
            metrics["balanced_accuracy"] = mean_of([each.recall for each in per_class.values() if each.n])
        if self.kind == "rating":
            metrics |= rating_metrics(self.confusion)
        if self.soft_threshold is not None:
            metrics["soft_accuracy"] = proportion(self.soft, self.n)
        if self.kind == "text" or self.soft_threshold is not None:
            metrics["token_f1"] = mean(self.f1_sum, self.f1_squares, self.n)
        confusion: dict[str, dict[str, int]] = {}
        for (truth, answer), count in sorted(self.confusion.items()):
            confusion.setdefault(truth, {})[answer] = count
        return MetricsReport(
            kind=self.kind,
            match=self.match,
            n=self.n,
            correct=self.correct,
            unparseable=self.errors["UNPARSEABLE"],
            missing=self.errors["MISSING"],
            counts=counts,
            metrics=metrics | texts,
            per_class=per_class,
            confusion=confusion,
        )

    def _binary(self) -> dict[str, int]:
        yes, no = (sum(n for (truth, _), n in self.confusion.items() if truth == side) for side in ("yes", "no"))
        tp, tn = self.right_by_class["yes"], self.right_by_class["no"]
        return {"TP": tp, "FP": no - tn, "TN": tn, "FN": yes - tp}

    def _per_class(self) -> dict[str, ClassMetrics]:
        totals: Counter[str] = Counter()
        answered: Counter[str] = Counter()
        for (truth, answer), count in self.confusion.items():
            totals[truth] += count
            answered[answer] += count
        return {
            truth: ClassMetrics(
                n=n,
                correct=self.right_by_class[truth],
                recall=proportion(self.right_by_class[truth], n),
                precision=proportion(min(self.right_by_class[truth], answered[truth]), answered[truth]),
            )
            for truth, n in sorted(totals.items())
        }


def binary_metrics(*, tp: int, fp: int, tn: int, fn: int) -> dict[str, Estimate]:
    """The yes/no figures; yes is positive. Null where the denominator is empty.

    TP 8, FP 2, TN 6, FN 4: balanced accuracy (8/12 + 6/8) / 2 = 0.708, precision 0.8, recall 0.667, F1 16/22 = 0.727.
    """
    recall, specificity = proportion(tp, tp + fn), proportion(tn, tn + fp)
    return {
        "accuracy": proportion(tp + tn, tp + fp + tn + fn),
        "balanced_accuracy": mean_of([recall, specificity]),
        "precision": proportion(tp, tp + fp),
        "recall": recall,
        "f1": f1_score(tp, fp, fn),
    }
