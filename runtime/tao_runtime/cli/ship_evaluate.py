"""`tao-run ship --spec`: the evaluations, with something to look at meanwhile, and the sets they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tao_runtime.cli.run import checked
from tao_runtime.errors import InputError
from tao_runtime.preflight.prepare import Prepared
from tao_runtime.score.ship import Model
from tao_runtime.ship.judge import ResultSet


def evaluate_all(
    models: Mapping[Model, str], spec: Path, general: list[Path], *, out: Path, nproc: int | None
) -> list[ResultSet]:
    """Ask the evaluation, then each general set; without one a small set is made, so that everybody has one.

    All models and all sets are checked, then what they need is fetched, and only then is the first asked: what is wrong
    with the last of them must not cost the answers of the others.
    """
    from tao_runtime.engine.general_set import make_general_set
    from tao_runtime.engine.hub import fetch_missing
    from tao_runtime.engine.ship import Evaluation, general_overrides, launch_models, prepare_models

    def prepare(path: Path, overrides: list[str]) -> Prepared:
        return checked("evaluate", path, overrides, nproc=nproc)

    def fetched(each: Evaluation) -> Evaluation:
        spec, facts = each.prepared.spec, each.prepared.facts
        if not fetch_missing(spec.models(), facts, family=spec.family):
            return each
        return replace(each, prepared=checked("evaluate", each.spec, each.overrides, nproc=nproc))

    asked = {"evaluation": prepare_models(models, spec, out / "evaluation", prepare=prepare)}
    for path in general:
        if path.stem in asked:
            raise InputError(f"--general {path}: a set {path.stem} is there already; want another name of the file")
        asked[path.stem] = prepare_models(models, path, out / path.stem, prepare=prepare)
    if not general:
        overrides = general_overrides(spec, out / "general-set")
        make_general_set(out / "general-set")
        asked["general"] = prepare_models(models, spec, out / "general", overrides=overrides, prepare=prepare)
    asked = {name: [fetched(each) for each in evaluations] for name, evaluations in asked.items()}
    return [ResultSet(name, "evaluation" if name == "evaluation" else "general", launch_models(evaluations))
            for name, evaluations in asked.items()]  # fmt: skip
