"""Pairing: the questions that all models answered, each once; everything else is a finding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from tao_runtime.data.fold import At, Collector, quote
from tao_runtime.score.results import Result
from tao_runtime.ship import rules
from tao_runtime.ship.answers import Answers


def pair(answers: Sequence[Answers], faults: Collector) -> tuple[tuple[Result, ...], ...]:
    """Match rows by record id; where an id occurs more than once, by its question, ground truth and clip too.

    Returns questions by row, models by column in the order given.
    """
    tables = [_by_id(each.rows) for each in answers]
    ids = list(dict.fromkeys(key for table in tables for key in table))
    rows = [row for key in ids for row in _match(key, [table.get(key, []) for table in tables], answers, faults)]
    if not rows:
        faults.add(rules.NO_PAIRS, "no record that all models answered", "the same records", at=At())
    return tuple(rows)


def _by_id(rows: Iterable[Result]) -> dict[str, list[Result]]:
    table = defaultdict[str, list[Result]](list)
    for row in rows:
        table[row.key].append(row)
    return table


def _match(
    key: str, found: list[list[Result]], answers: Sequence[Answers], faults: Collector
) -> Iterator[tuple[Result, ...]]:
    if all(len(rows) == 1 for rows in found):
        one = tuple(rows[0] for rows in found)
        if _agree(key, one, answers, faults):
            yield one
        return
    if all(len(rows) <= 1 for rows in found):
        _missing(key, [bool(rows) for rows in found], answers, faults)
        return
    groups = [defaultdict[tuple[str, str, str | None], list[Result]](list) for _ in found]
    for group, rows in zip(groups, found, strict=True):
        for row in rows:
            group[row.question, row.gt, row.video].append(row)
    for question in dict.fromkeys(name for group in groups for name in group):
        alike = [group.get(question, []) for group in groups]
        for each, same in zip(answers, alike, strict=True):
            if len(same) > 1:
                saw = f"record {quote(key)}, question {quote(question[0])}: {len(same)} answers of {each.model}"
                faults.add(rules.DUPLICATE, saw, "one answer", at=At(file=str(each.file)))
        if not all(alike):
            _missing(key, [bool(same) for same in alike], answers, faults)
        elif all(len(same) == 1 for same in alike):
            yield tuple(same[0] for same in alike)


def _agree(key: str, rows: tuple[Result, ...], answers: Sequence[Answers], faults: Collector) -> bool:
    """Whether a record is the same question for all models; a question that has two truths is judged for none."""
    one, agree = rows[0], True
    first = answers[0].model
    for other, each in zip(rows[1:], answers[1:], strict=True):
        seen = (
            (rules.QUESTION, "question", one.question.strip(), other.question.strip()),
            (rules.TRUTH, "gt", one.gt, other.gt),
            (rules.MEDIA, "video", one.video, other.video),
        )
        for rule, name, before, after in seen:
            known = before is not None and after is not None  # other evaluators do not name the clip
            if known and before != after:
                saw = f"record {quote(key)}: {name} {quote(before)} for {first}, {quote(after)} for {each.model}"
                faults.add(rule, saw, "the same for both", at=At(file=str(each.file)))
                agree = False
    return agree


def _missing(key: str, has: list[bool], answers: Sequence[Answers], faults: Collector) -> None:
    have = " and ".join(each.model for each, there in zip(answers, has, strict=True) if there)
    for each, there in zip(answers, has, strict=True):
        if not there:
            saw = f"record {quote(key)} was answered by {have} and not by {each.model}"
            fix = f"evaluate {each.model} on the whole set again"
            faults.add(rules.MISSING, saw, "answers of all models", at=At(file=str(each.file)), fix=fix)
