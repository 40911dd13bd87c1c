"""Which frames a run decodes of each medium, by its plan: what `check --decode` decodes beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from tao_runtime.data.clips import Clip, ClipRules, decide
from tao_runtime.data.facts import DatasetFacts, Facts, VisionGeometry
from tao_runtime.data.vision import SamplingPlan, sample_frames
from tao_runtime.plan.clip_data import windows_and_samples
from tao_runtime.plan.model import (
    AnyPlan,
    EvaluatePlan,
    InferencePlan,
    QuantizePlan,
    TrainPlan,
    VideoEvaluatePlan,
)

LAST: Final = np.nextafter(1.0, 0.0)  # the draw that gives the last possible start
# Ascending, by label of the data set and index of the medium. (0,) of an image.
Frames = Mapping[tuple[str, int], tuple[int, ...]]


def planned_frames(plan: AnyPlan, facts: Facts) -> Frames:
    """Return the frames of every medium that was opened; empty for a plan that reads no data set.

    Where a start is drawn anew in every epoch: those of the first and of the last possible one.
    """
    rules = _rules(plan)
    if rules is not None:
        return {
            (data.label, medium): tuple(sorted(frames))
            for data in facts.datasets.values()
            for medium, frames in _of_clips(data, rules).items()
        }
    sampling = _sampling(plan)
    if sampling is None:
        return {}
    model = facts.models.get("architecture") or facts.models.get("base_model") or facts.models.get("model")
    geometry = model.geometry if model else VisionGeometry()
    return {
        (data.label, medium): (0,) if header.kind == "image" else sample_frames(header, sampling, geometry)
        for data in facts.datasets.values()
        for medium, header in enumerate(data.media)
        if header is not None
    }


def load_timeout_s(plan: AnyPlan) -> float | None:
    """Return how long a sample may take to load, where the plan says."""
    return plan.data.loading.timeout_s if isinstance(plan, TrainPlan) else None


def _rules(plan: AnyPlan) -> ClipRules | None:
    if isinstance(plan, TrainPlan):
        return plan.data.clips
    return plan.clips if isinstance(plan, VideoEvaluatePlan) else None


def _sampling(plan: AnyPlan) -> SamplingPlan | None:
    if isinstance(plan, TrainPlan):
        return plan.data.sampling
    if isinstance(plan, EvaluatePlan | InferencePlan):
        return plan.sampling
    return plan.proof.sampling if isinstance(plan, QuantizePlan) else None


def _of_clips(data: DatasetFacts, rules: ClipRules) -> Mapping[int, set[int]]:
    """Return the frames of each medium that some window of some record gives a sample of."""
    found: dict[int, set[int]] = {}
    for record in data.columns.usable.nonzero()[0].tolist():
        (medium,) = data.columns.media_of(record).tolist()
        for window, clip in windows_and_samples(data, record, rules):
            if isinstance(clip, Clip):
                latest = decide(data.media[medium], window, rules, draw=LAST)
                assert isinstance(latest, Clip), "the draw moves a start, nothing else"
                found.setdefault(medium, set()).update(clip.indices, latest.indices)
    return found
