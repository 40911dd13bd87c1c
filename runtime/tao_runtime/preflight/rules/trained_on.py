"""An evaluation of clips that the evaluated model learnt from, in the run it comes from or one that came before."""

from __future__ import annotations

from collections.abc import Iterator

from tao_runtime.data.facts import Facts, TrainedOn
from tao_runtime.plan.model import AnyPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.leaks import Group, Pair, by_content, by_path, by_source, shown
from tao_runtime.spec.base import Spec

_SCORE = "a score on clips that were trained on is no score"


def _pairs(facts: Facts) -> Iterator[tuple[TrainedOn, Pair]]:
    for told in facts.trained_on:
        if told.data is not None:
            yield told, Pair(told.data, facts.datasets["eval"], told.same_content, told.left_out)


def _judged(groups: list[Group]) -> list[int]:
    """Return the evaluated records of some groups, each once."""
    return sorted({record for group in groups for record in group.records["val"]})


def _fix(told: TrainedOn) -> str:
    text = "evaluate on clips that were held out"
    if told.validation_records:
        count = len(told.validation_records)
        return f"{text}: the run kept {count:,} records of {told.validation} ({shown(told.validation_records)})"
    return f"{text}, as {told.validation} was" if told.validation else text


def _where(spec: Spec) -> str:
    return next((ref.annotation_key for ref in spec.datasets() if ref.label == "eval"), "eval")


def _problem(spec: Spec, facts: Facts, told: TrainedOn, saw: str, want: str) -> Problem:
    return Problem(_where(spec), saw, want, _fix(told), file=str(facts.datasets["eval"].annotation))


@rule("dataset/train-eval-same-media", "warning", actions=("evaluate",), source=_SCORE)
def same_media(spec: Spec, facts: Facts, plan: AnyPlan) -> Iterator[Problem]:
    """No file of an evaluation is one that the model was trained on, by path or by content, as its run says."""
    for told, pair in _pairs(facts):
        paths, copies = by_path(pair), by_content(pair)
        if not (paths or copies):
            continue
        records = _judged([*paths, *copies])
        first, second = (*copies, *paths)[0].example
        example = f"{second} is {first}" if copies else f"{first.name} is one of them"
        saw = f"{len(records):,} of {pair.val.num_records:,} records ({shown(records)}) name media that"
        saw += f" the model was trained on in {told.run}"
        saw += f", {len(_judged(copies)):,} of them copies" if copies else ""
        yield _problem(spec, facts, told, f"{saw}: {example}", "clips that the model has not seen")


@rule("dataset/train-eval-same-source", "warning", actions=("evaluate",), source=_SCORE)
def same_source(spec: Spec, facts: Facts, plan: AnyPlan) -> Iterator[Problem]:
    """No clip of an evaluation is cut from a video that the model was trained on clips of, by records or names."""
    for told, pair in _pairs(facts):
        groups = by_source(pair)
        if not groups:
            continue
        records, overlap = _judged(groups), sum(group.overlaps for group in groups)
        first, second = groups[0].example
        saw = f"{len(records):,} of {pair.val.num_records:,} records ({shown(records)}) are cut from {len(groups):,}"
        saw += f" videos that the model was trained on in {told.run}"
        saw += f", {overlap:,} of them in overlapping parts" if overlap else ""
        yield _problem(spec, facts, told, f"{saw}: {second.name} and {first.name}", "source videos of its own")


@rule("dataset/train-eval-unknown", "note", actions=("evaluate",), source=_SCORE)
def unknown(spec: Spec, facts: Facts, plan: AnyPlan) -> Iterator[Problem]:
    """What the model was trained on is still there as it was, so that the evaluation can be compared with it."""
    for told in facts.trained_on:
        if told.trouble:
            scope = "nothing was compared" if told.data is None else "the others were compared"
            saw = f"{told.trouble}: {scope} with what the model was trained on in {told.run}"
            yield Problem(_where(spec), saw, "the data as the run was given them", file=str(told.run))
