"""Preparing a run with something to look at meanwhile; see `preflight/prepare.py` for what is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tao_runtime.cli.progress import counting, looking
from tao_runtime.errors import FindingsError
from tao_runtime.preflight import prepare as preflight
from tao_runtime.preflight.report import Report, from_findings


def prepare(
    path: Path, overrides: Sequence[str], *, action: str | None = None, nproc: int | None = None, offline: bool = False
) -> preflight.Prepared:
    """Load, probe, plan and check. Raises FindingsError for a spec that is wrong in itself."""
    with looking() as progress:
        return preflight.prepare(path, overrides, action=action, nproc=nproc, offline=offline, progress=progress)


def prepare_report(
    path: Path, overrides: Sequence[str], *, nproc: int | None, offline: bool, decode: float | None = None
) -> Report:
    """Return the report of a run, after decoding a share of its media; a spec that is wrong in itself gives one too."""
    try:
        prepared = prepare(path, overrides, nproc=nproc, offline=offline)
        if decode is None:
            return prepared.report
        with counting("decoding") as progress:
            return preflight.decode_media(prepared, decode, progress=progress).report
    except FindingsError as error:
        return from_findings(error.findings, action=error.action, family=error.family)
