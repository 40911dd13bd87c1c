"""`tao-run ship --spec`: the evaluations, with something to look at meanwhile, and the sets they give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tao_runtime.cli.run import checked, need_engine
from tao_runtime.preflight.prepare import Prepared
from tao_runtime.score.ship import Model
from tao_runtime.ship.judge import ResultSet


def evaluate_all(
    models: Mapping[Model, str], spec: Path, general: list[Path], *, out: Path, nproc: int | None
) -> list[ResultSet]:
    """Ask the evaluation, then each general set; without one a small set is made, so that everybody has one."""

    from tao_runtime.engine.general_set import make_general_set
    from tao_runtime.engine.hub import fetch_missing
    from tao_runtime.engine.ship import evaluate_models, general_overrides

    def prepare(path: Path, overrides: list[str]) -> Prepared:
        prepared = checked("evaluate", path, overrides, nproc=nproc)
        need_engine(prepared.spec.family, "evaluate")
        if fetch_missing(prepared.spec.models(), prepared.facts, family=prepared.spec.family):
            prepared = checked("evaluate", path, overrides, nproc=nproc)
        return prepared

    asked = evaluate_models(models, spec, out / "evaluation", prepare=prepare)
    sets = [ResultSet("evaluation", "evaluation", asked)]
    for path in general:
        asked = evaluate_models(models, path, out / path.stem, prepare=prepare)
        sets.append(ResultSet(path.stem, "general", asked))
    if not general:
        overrides = general_overrides(spec, out / "general-set")
        make_general_set(out / "general-set")
        asked = evaluate_models(models, spec, out / "general", overrides=overrides, prepare=prepare)
        sets.append(ResultSet("general", "general", asked))
    return sets
