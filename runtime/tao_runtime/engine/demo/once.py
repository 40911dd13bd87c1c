"""Runs a spec of a demo, unless its run is complete: a demo that was interrupted goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tao_runtime.engine.commits import read_json
from tao_runtime.engine.launch import launch
from tao_runtime.engine.run_dir import RUN
from tao_runtime.errors import FindingsError
from tao_runtime.plan.model import EvaluatePlan, TrainPlan
from tao_runtime.preflight.prepare import prepare


def run_once(spec: Path, action: str, run_dir: Path) -> dict[str, Any]:
    """Check and run `spec`, whose results directory is `run_dir`; returns run.json.

    Raises:
        FindingsError: preflight found errors.
    """
    if not (run_dir / RUN).is_file():
        prepared = prepare(spec, action=action)
        if not prepared.report.ok or not isinstance(prepared.plan, TrainPlan | EvaluatePlan):
            raise FindingsError(prepared.report.findings)
        launch(prepared.spec, prepared.facts, prepared.plan, prepared.report)
    return dict(read_json(run_dir / RUN))
