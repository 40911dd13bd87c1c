"""Rules about data sets beside each other. Rules about single records run while the data is read."""

from __future__ import annotations

from collections.abc import Iterator

from tao_runtime.data.facts import Facts
from tao_runtime.plan.model import Plan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.spec.base import Spec


@rule(
    "dataset/train-val-overlap",
    "warning",
    actions=("train",),
    source="a score on clips that were trained on is no score",
)
def overlap(spec: Spec, facts: Facts, plan: Plan | None) -> Iterator[Problem]:
    """No clip is in both the training and the validation set; the very same annotation file is an error."""
    train, val = facts.datasets.get("train"), facts.datasets.get("val")
    if train is None or val is None:
        return
    where = next((ref.annotation_key for ref in spec.datasets() if ref.label == "val"), "val")
    if train.sha256 == val.sha256:
        saw = "the same annotation file as the training set"
        yield Problem(where, saw, "records of its own", file=str(val.annotation), severity="error")
        return
    mine = {header.path.resolve() for header in train.media if header}
    both = [header.path for header in val.media if header and header.path.resolve() in mine]
    if both:
        saw = f"{len(both):,} of {len(val.media):,} validation media are trained on, {both[0].name} among them"
        yield Problem(where, saw, "clips that are not in the training set", file=str(val.annotation))
