"""One set of questions: every answer judged anew, each model against the one before it, by slice, with a verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from tao_runtime.data.fold import At, Collector
from tao_runtime.score.answer import Kind, detect_kind
from tao_runtime.score.interval import Estimate, mean, proportion
from tao_runtime.score.judge import judge, token_f1
from tao_runtime.score.metrics import MISSING, TASK_KINDS
from tao_runtime.score.paired import holm, paired_difference, questions_needed, sign_test
from tao_runtime.score.results import Result
from tao_runtime.score.ship import Figure, Role, SetReport, Side, SliceDifference, Verdict, Versus
from tao_runtime.ship import rules
from tao_runtime.ship.answers import Answers
from tao_runtime.ship.examples import choose_flips, to_utf8

MAX_SLICES = 50  # in the report; the rest is counted
LEAST_SLICE = 5  # questions; a smaller slice is no slice
SHORT_TRUTH = 3  # words; answers to longer ones are compared by their words, not as a whole
FALSE_ALARM = 0.05
UNREADABLE = 0.10  # of a model's answers


@dataclass(frozen=True, slots=True)
class Judged:
    """One model's answers to the questions of a set: a figure between 0 and 1 for each, and what could not be read."""

    answers: Answers
    rows: tuple[Result, ...]
    scores: tuple[float, ...]
    unparseable: int
    missing: int


@dataclass(frozen=True, slots=True)
class Gate:
    """What a set is compared with."""

    name: str
    role: Role
    tolerance: float
    examples: int  # of each comparison
    sound: bool  # the results fit each other; if not, no verdict is green


def compare_set(
    answers: Sequence[Answers], pairs: Sequence[tuple[Result, ...]], gate: Gate, faults: Collector
) -> SetReport:
    """Judge a set; worse, cannot tell and what explains it are faults. `pairs`: a row of each model."""
    truths = [row[0].gt for row in pairs]
    kind = TASK_KINDS.get(answers[0].task) or detect_kind(truths)
    figure: Figure = "token_f1" if kind == "text" and _long(truths) else "accuracy"
    judged = [
        _judge(each, tuple(row[index] for row in pairs), kind=kind, figure=figure) for index, each in enumerate(answers)
    ]
    clips = [row[0].video or row[0].key for row in pairs]
    for side in judged:
        _unparseable(side, gate, faults)
    versus = []
    for before, after in combinations(judged, 2):
        _identical(before, after, faults)
        versus.append(_versus(before, after, clips, gate))
        _explain(versus[-1], gate, faults)
    return SetReport(
        name=gate.name,
        role=gate.role,
        kind=kind,
        figure=figure,
        n=len(pairs),
        clips=len(set(clips)),
        sides=tuple(_side(side, figure) for side in judged),
        versus=tuple(versus),
    )


def decide(difference: Estimate, *, tolerance: float) -> Verdict:
    """Same: the whole interval lies within the tolerance. Better, worse: it excludes 0. Otherwise nobody can tell.

    Equivalence comes first (two one-sided tests, Schuirmann 1987): a difference that is surely smaller than what
    matters is no news, however significant. At 0.02, [0.01, 0.15] is better, [-0.015, 0.012] the same, and nobody can
    tell what [-0.05, 0.01] is.
    """
    if difference.low is None or difference.high is None:
        return "cannot tell"
    if -tolerance <= difference.low and difference.high <= tolerance:
        return "same"
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "cannot tell"


def _long(truths: Sequence[str]) -> bool:
    return any(len(truth.split()) > SHORT_TRUTH for truth in truths)


def _judge(answers: Answers, rows: tuple[Result, ...], *, kind: Kind, figure: Figure) -> Judged:
    scores, unparseable, missing = [], 0, 0
    for row in rows:
        silent = row.error_type == MISSING and row.response is None
        seen = judge(row.response, gt=row.gt, kind=kind)
        unparseable += not silent and seen.error_type == "UNPARSEABLE"
        missing += silent
        scores.append(float(seen.correct) if figure == "accuracy" else token_f1(row.response or "", row.gt))
    return Judged(answers, rows, tuple(scores), unparseable, missing)


def _side(judged: Judged, figure: Figure) -> Side:
    scores, n = judged.scores, len(judged.scores)
    right = proportion(sum(score == 1 for score in scores), n)
    graded = mean(sum(scores), sum(score * score for score in scores), n)
    return Side(
        model=judged.answers.model,
        path=judged.answers.weights,
        results=str(judged.answers.file),
        results_sha256=judged.answers.sha256,
        rows=len(judged.answers.rows),
        estimate=right if figure == "accuracy" else graded,
        unparseable=judged.unparseable,
        missing=judged.missing,
    )


def _versus(before: Judged, after: Judged, clips: list[str], gate: Gate) -> Versus:
    changes = [b - a for a, b in zip(before.scores, after.scores, strict=True)]
    gained, lost = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    difference = paired_difference(changes, clips)
    told = verdict = decide(difference, tolerance=gate.tolerance)
    reason = _reason(verdict, difference, gate.tolerance)
    if gate.role == "general" and verdict in ("same", "better") and not _has_room(before):
        verdict = "cannot tell"
        reason = f"{before.answers.model} does no better than one answer for all, so nothing could be forgotten"
    elif not gate.sound and verdict in ("same", "better"):
        verdict, reason = "cannot tell", f"would be {verdict}, but the results do not fit each other"
    slices = _slices(before, after, changes, clips)
    right = [(a == 1, b == 1) for a, b in zip(before.scores, after.scores, strict=True)]
    return Versus(
        before=before.answers.model,
        after=after.answers.model,
        verdict=verdict,
        reason=reason,
        difference=difference,
        p=sign_test(gained, lost),
        right_to_wrong=right.count((True, False)),
        wrong_to_right=right.count((False, True)),
        both_right=right.count((True, True)),
        both_wrong=right.count((False, False)),
        needed=questions_needed(difference, tolerance=gate.tolerance) if told == "cannot tell" else None,
        slices=slices[:MAX_SLICES],
        num_slices=len(slices),
        num_changed=gained + lost,
        flips=choose_flips(before.rows, after.rows, changes, roots=_roots(before, after), limit=gate.examples),
    )


def _roots(before: Judged, after: Judged) -> str | None:
    """Where the clips lie, from the first run that says it."""
    roots = (each.answers.media_root for each in (before, after))
    return next((str(root) for root in roots if root is not None), None)


def _has_room(before: Judged) -> bool:
    """Whether the earlier model knows anything to forget: surely more than the commonest truth for every question."""
    counts = defaultdict[str, int](int)
    for row in before.rows:
        counts[row.gt.strip().casefold()] += 1
    n = len(before.rows)
    low = proportion(sum(score == 1 for score in before.scores), n).low
    graded = set(before.scores) - {0.0, 1.0}
    return bool(graded) or (low is not None and low > max(counts.values(), default=0) / n)


def _reason(verdict: Verdict, difference: Estimate, tolerance: float) -> str:
    if difference.value is None:
        return "no question that both answered"
    span = f"{difference.value:+.1%} [{difference.low:+.1%} to {difference.high:+.1%}]"
    says = {
        "same": f"the whole interval lies within {tolerance:.1%}",
        "better": "the interval is above zero",
        "worse": "the interval is below zero",
        "cannot tell": f"the interval holds zero and reaches beyond {tolerance:.1%}",
    }
    return f"{span}: {says[verdict]}"


def _slices(before: Judged, after: Judged, changes: list[float], clips: list[str]) -> tuple[SliceDifference, ...]:
    """Slices of five questions and more, worst first; by truth alone where most questions are worded differently."""
    groups = defaultdict[tuple[str | None, str], list[int]](list)
    for index, row in enumerate(before.rows):
        groups[row.question.strip(), row.gt.strip()].append(index)
    inside = sum(len(rows) for rows in groups.values() if len(rows) >= LEAST_SLICE)
    if inside * 2 < len(before.rows):
        groups.clear()
        for index, row in enumerate(before.rows):
            groups[None, row.gt.strip()].append(index)
    kept = {key: rows for key, rows in groups.items() if len(rows) >= LEAST_SLICE}
    counts = [[sum(sign * changes[i] > 0 for i in rows) for sign in (1, -1)] for rows in kept.values()]
    p_values = [sign_test(gained, lost) for gained, lost in counts]
    found = [
        SliceDifference(
            question=None if question is None else to_utf8(question),
            ground_truth=to_utf8(truth),
            before=sum(before.scores[i] for i in rows) / len(rows),
            after=sum(after.scores[i] for i in rows) / len(rows),
            difference=paired_difference([changes[i] for i in rows], [clips[i] for i in rows]),
            gained=gained,
            lost=lost,
            p=p,
            p_adjusted=adjusted,
        )
        for ((question, truth), rows), (gained, lost), p, adjusted in zip(
            kept.items(), counts, p_values, holm(p_values), strict=True
        )
    ]
    return tuple(sorted(found, key=lambda each: (each.difference.high or 0.0, each.difference.value or 0.0)))


def _unparseable(side: Judged, gate: Gate, faults: Collector) -> None:
    n = len(side.rows)
    if n and side.unparseable > UNREADABLE * n:
        saw = f"{gate.name}: {side.unparseable:,} of {n:,} answers of {side.answers.model} cannot be read"
        fix = "look at them: a difference may be one of format; ask for the form of the answer, or raise max_tokens"
        faults.add(rules.UNPARSEABLE, saw, f"at most {UNREADABLE:.0%}", at=At(file=str(side.answers.file)), fix=fix)


def _identical(before: Judged, after: Judged, faults: Collector) -> None:
    """The same words everywhere mean that the same weights answered, however the two are called."""
    if before.rows and all(a.response == b.response for a, b in zip(before.rows, after.rows, strict=True)):
        who = f"{after.answers.model} and {before.answers.model}"
        saw = f"{who} gave the same words to all {len(before.rows):,} questions"
        fix = "see that the weights were loaded: tao-run audit NEW --base OLD says what changed"
        faults.add(rules.IDENTICAL, saw, "some other words", at=At(file=str(after.answers.file)), fix=fix)


def _explain(versus: Versus, gate: Gate, faults: Collector) -> None:
    """Turn a verdict into what a user should know."""
    who = f"{gate.name}: {versus.after} against {versus.before}"
    if versus.verdict == "worse":
        fix = "train on examples of the slices that lost, mix in general data, lower the rate or the epochs"
        if versus.after == "quantised":
            fix = "keep more layers in full precision, calibrate on clips of this kind, or ship the tuned model"
        faults.add(
            rules.WORSE, f"{who}: {versus.reason}", f"a loss surely within {gate.tolerance:.1%}", at=At(), fix=fix
        )
    if versus.verdict == "cannot tell" and (gate.sound or versus.needed):  # else errors say why
        want = f"about {versus.needed:,} questions" if versus.needed else "a set that can tell"
        faults.add(rules.CANNOT_TELL, f"{who}: {versus.reason}", want, at=At())
    for each in versus.slices if versus.verdict != "worse" else ():  # a set that is worse has been named already
        if each.p_adjusted < FALSE_ALARM and (each.difference.value or 0.0) < 0:
            asked = f"{each.question!r}, " if each.question else ""
            saw = f"{who}: {asked}truth {each.ground_truth!r}: {each.before:.0%} before, {each.after:.0%} after"
            faults.add(rules.SLICE, saw, "no slice that is surely worse", at=At(), fix="mine examples of it: deft mine")
