"""The way from a spec file to a report: load, probe, plan, check. Everything that runs something goes through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tao_runtime.data.decode_probe import DecodeProgress, decode_probe, default_options
from tao_runtime.data.facts import Facts
from tao_runtime.data.probe import probe
from tao_runtime.data.progress import Progress
from tao_runtime.plan.decoding import load_timeout_s, planned_frames
from tao_runtime.plan.make import make_plan
from tao_runtime.plan.model import AnyPlan
from tao_runtime.preflight.check import check
from tao_runtime.preflight.report import Report
from tao_runtime.spec.base import Spec
from tao_runtime.spec.load import load_spec


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is known before a run."""

    spec: Spec
    facts: Facts
    plan: AnyPlan
    report: Report


def prepare(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    action: str | None = None,
    nproc: int | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Prepared:
    """Load, probe, plan and check. Raises FindingsError for a spec that is wrong in itself."""
    spec = load_spec(path, overrides, action=action)
    facts = probe(spec, world_size=nproc, progress=progress, offline=offline)
    plan = make_plan(spec, facts)
    return Prepared(spec, facts, plan, check(spec, facts, plan))


def decode_media(prepared: Prepared, share: float, *, progress: DecodeProgress | None = None) -> Prepared:
    """Decode a share of the media as the run will, and check again."""
    plan, facts = prepared.plan, prepared.facts
    options = default_options(share, limit_s=load_timeout_s(plan), progress=progress)
    facts = decode_probe(prepared.spec, facts, planned_frames(plan, facts), options)
    return Prepared(prepared.spec, facts, plan, check(prepared.spec, facts, plan))
