"""Data sets, frame sampling and model places of a plan: what train, evaluate and inference share."""

from __future__ import annotations

import numpy as np

from tao_runtime.data.facts import DatasetFacts, Facts
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.plan.model import DatasetPlan
from tao_runtime.spec.base import ModelRef


def make_sampling(vision: object) -> SamplingPlan:
    """Read a vision table; the keys that only evaluate has are optional."""

    def read(*names: str) -> int | float | None:
        return next((value for name in names if (value := getattr(vision, name, None)) is not None), None)

    fps = read("fps")
    return SamplingPlan(
        fps=fps,
        num_frames=_whole(read("nframes", "num_frames")) if fps is None else None,
        min_frames=_whole(read("min_frames")),
        max_frames=_whole(read("max_frames")),
        min_pixels=_whole(read("min_pixels")),
        max_pixels=_whole(read("max_pixels")),
        total_pixels=_whole(read("total_pixels")),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def make_place(ref: ModelRef, facts: Facts) -> str:
    """Return the directory of a model, also of one in the hub's cache; its hub id where it is not on this machine."""
    model = facts.models.get(ref.label)
    return str(model.directory) if model is not None and model.directory is not None else ref.location


def make_dataset(facts: DatasetFacts, held_out: tuple[int, ...] = (), response_mode: str = "hybrid") -> DatasetPlan:
    exclude = tuple(sorted({*np.flatnonzero(~facts.columns.usable).tolist(), *held_out}))
    return DatasetPlan(
        annotation=str(facts.annotation),
        media_root=str(facts.media_root),
        num_records=facts.num_records - len(exclude),
        sha256=facts.sha256,
        exclude=exclude,
        response_mode=response_mode,
    )
