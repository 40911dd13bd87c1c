"""The evaluations that the ship gate rests on: each model by the same spec, each in its own folder, each only once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tao_runtime.engine.commits import read_json
from tao_runtime.engine.kept import IDENTITY, PARTS, identity_of
from tao_runtime.engine.launch import launch
from tao_runtime.engine.run_dir import RUN
from tao_runtime.errors import Finding, FindingsError, Fix
from tao_runtime.plan.model import EvaluatePlan
from tao_runtime.preflight.prepare import Prepared
from tao_runtime.score.ship import Model
from tao_runtime.spec.base import Spec
from tao_runtime.spec.load import load_spec

Prepare = Callable[[Path, list[str]], Prepared]  # shows the report, and ends the command where it has errors


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model, asked by one spec: checked, and not yet run."""

    model: Model
    folder: Path
    spec: Path
    overrides: list[str]
    prepared: Prepared


def prepare_models(
    models: Mapping[Model, str], spec: Path, out: Path, *, overrides: tuple[str, ...] = (), prepare: Prepare
) -> list[Evaluation]:
    """Check that every model can answer the records of a spec, in `out`/<model>; asks none.

    An adapter directory is put on the base. Raises FindingsError for a spec that cannot be asked so.
    """
    loaded = load_spec(spec, overrides, action="evaluate")
    checked: list[Evaluation] = []
    for model, weights in models.items():
        folder = out / model
        base = models["base"] if (Path(weights) / "adapter_config.json").is_file() else ""
        changes = loaded.acting_on(weights, base=base, output_dir=str(folder))
        if not changes:
            raise FindingsError([_not_redirected(spec, loaded)])
        own = [*overrides, *changes]
        prepared = prepare(spec, own)
        if not isinstance(prepared.plan, EvaluatePlan):
            raise FindingsError([_not_redirected(spec, loaded)])
        checked.append(Evaluation(model, folder, spec, own, prepared))
    return checked


def launch_models(evaluations: Sequence[Evaluation]) -> dict[Model, Path]:
    """Let every model answer; what is complete already is not asked again. Returns where the answers are."""
    for each in evaluations:
        plan = each.prepared.plan
        assert isinstance(plan, EvaluatePlan)
        if not is_complete(plan):
            launch(each.prepared.spec, each.prepared.facts, plan, each.prepared.report)
    return {each.model: each.folder for each in evaluations}


def is_complete(plan: EvaluatePlan) -> bool:
    """Whether the answers are there, of this spec and of these very weights."""
    run_dir = Path(plan.output_dir)
    mark = run_dir / PARTS / IDENTITY
    if not (run_dir / RUN).is_file() or not mark.is_file():
        return False
    same = read_json(run_dir / RUN).get("spec_sha256") == plan.spec_sha256
    return same and mark.read_text() == identity_of(plan)


def general_overrides(spec: Path, folder: Path) -> tuple[str, ...]:
    """Return what makes an evaluation ask a general set instead: its family says which keys name the data.

    Raises:
        FindingsError: the data of this spec are laid out in another way.
    """
    loaded = load_spec(spec, (), action="evaluate")
    ref = loaded.datasets()[0]
    if ref.format != "llava":
        saw = f"data in the format {ref.format}"
        fix = "give --general a spec of a general set in that format"
        raise FindingsError([_finding(ref.annotation_key, saw, "llava, in which the general set is made", fix)])
    media = (f"{ref.media_key}={folder}",) if ref.media and ref.media_key != ref.annotation_key else ()
    return (f"{ref.annotation_key}={folder}", *media, *loaded.any_question())


def _not_redirected(spec: Path, loaded: Spec) -> Finding:
    saw = f"an evaluation of {loaded.family} that gives no answers to questions"
    fix = "for clips, tao-run evaluate pairs base and tuned itself: model.baseline_path, and see video_results.json"
    return _finding(str(spec), saw, "a family that answers", fix)


def _finding(where: str, saw: str, want: str, fix: str) -> Finding:
    return Finding(rule="ship/spec", severity="error", where=where, saw=saw, want=want, fix=Fix(text=fix))
