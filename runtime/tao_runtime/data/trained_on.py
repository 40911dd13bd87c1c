"""What an evaluated model learnt from: the runs it comes from, and the data that their plans name, looked at again.

A run is found from its own directory, a commit or an export inside it, and from the manifest of an export elsewhere.
Where its base comes from a run too, that one counts as well. Nothing is written but memories of scans.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tao_runtime.data.facts import DatasetFacts, TrainedOn
from tao_runtime.data.paths import can_be_path, is_dir, is_file
from tao_runtime.data.probe import probe_dataset
from tao_runtime.data.progress import Progress
from tao_runtime.data.same_content import same_content
from tao_runtime.data.snapshot import local_directory
from tao_runtime.errors import InputError
from tao_runtime.spec.base import DatasetRef, ModelRef, Spec

PLAN: Final = "plan.json"
MANIFEST: Final = "manifest.json"
PARTS: Final = ("checkpoints", "export")  # folders of a run that hold its weights
DEPTH: Final = 3  # folders between a run and weights in it: checkpoints/iter_000000100, export/model/transformer


class _Read(BaseModel):
    """The part of a file of ours that is read here; other keys are other readers'."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


Kind = TypeVar("Kind", bound=_Read)


class _Set(_Read):
    annotation: str
    media_root: str = ""
    sha256: str | None = None
    exclude: tuple[int, ...] = ()
    only: tuple[int, ...] | None = None
    format: str = "llava"


class _Data(_Read):
    train: _Set
    val: _Set | None = None
    conversation_key: str = "conversations"


class _Weights(_Read):
    path: str = ""
    base_path: str | None = None


class _Checkpoints(_Read):
    warm_start: str | None = None


class _Plan(_Read):
    action: str
    model: _Weights = Field(default_factory=_Weights)
    checkpoint: _Checkpoints = Field(default_factory=_Checkpoints)


class _Training(_Read):
    data: _Data


class _Manifest(_Read):
    checkpoint: str | None = None
    base: _Weights = Field(default_factory=_Weights)


def probe_trained_on(spec: Spec, data: DatasetFacts, progress: Progress | None = None) -> tuple[TrainedOn, ...]:
    """Look at what the models of a spec learnt from, and compare its files with those of `data`. Never raises."""
    runs: dict[Path, None] = {}
    for ref in spec.judged():
        runs.update(dict.fromkeys(_runs_of(ref)))
    return tuple(_look(run, data, progress) for run in runs)


def _runs_of(ref: ModelRef) -> Iterator[Path]:
    """Yield the training runs that a model comes from, nearest first."""
    waiting, places, runs = [ref.path], set[Path](), set[Path]()
    while waiting:
        place = _place(replace(ref, path=waiting.pop(0)))
        if place is None or place in places:
            continue
        places.add(place)
        manifest = _read(_Manifest, place / MANIFEST)
        if manifest is not None:
            waiting += filter(None, (manifest.checkpoint, manifest.base.path))
        run = run_of(place)
        if run is None or run in runs:
            continue
        runs.add(run)
        plan = _read(_Plan, run / PLAN)
        if plan is not None:
            waiting += filter(None, (plan.checkpoint.warm_start, plan.model.path, plan.model.base_path))
        if plan.action == "train" if plan is not None else any(is_dir(run / part) for part in PARTS):
            yield run


def _place(ref: ModelRef) -> Path | None:
    """Return the folder of a model on this machine, as it really is; None if there is none."""
    if not can_be_path(ref.path):
        return None
    try:
        directory = local_directory(ref)
        if directory is None and is_file(Path(ref.location)):
            directory = Path(ref.location).parent
        return directory.resolve() if directory is not None and is_dir(directory) else None
    except OSError:
        return None


def run_of(place: Path) -> Path | None:
    """Return the run directory that a folder of weights is, or is a part of."""
    if is_file(place / PLAN):
        return place
    for depth, folder in enumerate(list(place.parents)[:DEPTH], 1):
        if place.parts[-depth] in PARTS and is_file(folder / PLAN):
            return folder
    return None


def _read(kind: type[Kind], path: Path) -> Kind | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _look(run: Path, evaluated: DatasetFacts, progress: Progress | None) -> TrainedOn:
    """Look at the training data of a run as it is now; it counts only if it is what the run was given."""
    plan = _read(_Training, run / PLAN)
    if plan is None:
        return TrainedOn(run, trouble=f"{PLAN} does not say what was trained on")
    train, val = plan.data.train, plan.data.val
    ref = DatasetRef("train", train.annotation, train.media_root, PLAN, PLAN, plan.data.conversation_key, train.format)
    told = TrainedOn(
        run,
        validation=val.annotation if val is not None else "",
        validation_records=(val.only or ()) if val is not None else (),
    )
    try:
        data = probe_dataset(ref, progress=progress)
    except (InputError, OSError) as error:
        return replace(told, trouble=str(error).partition("; want ")[0])
    if train.sha256 is None or data.sha256 != train.sha256:
        return replace(told, trouble=f"{data.annotation} has changed since")
    every = np.arange(data.num_records)
    learnt = ~np.isin(every, train.exclude)  # among those, what was broken then
    learnt &= train.only is None or np.isin(every, train.only)
    lost = int((learnt & ~data.columns.usable).sum())
    broken = f"{lost:,} of {learnt.sum():,} records of {data.annotation}, or their media, are broken now"
    return replace(
        told,
        data=data,
        left_out=frozenset(np.flatnonzero(~learnt).tolist()),
        same_content=same_content((data, evaluated)),
        trouble=broken if lost else "",
    )
