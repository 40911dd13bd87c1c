"""The answers of one model to one set, and what lies beside them: which model, which data, which settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tao_runtime.data.fold import At, Collector, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.errors import FindingsError
from tao_runtime.score.results import Result, find_results, parse_row
from tao_runtime.score.ship import Model
from tao_runtime.ship import rules

_AGAIN = "evaluate all models to the end, from one spec"
PLAN, RUN = "plan.json", "run.json"  # of the run that wrote the results, if it was one of ours


@dataclass(frozen=True, slots=True)
class Answers:
    """One model's rows, in file order. `plan` is empty where the results are another evaluator's."""

    model: Model
    file: Path
    rows: tuple[Result, ...]
    sha256: str
    plan: Mapping[str, object] = field(default_factory=dict)
    complete: bool = True
    media_root: Path | None = None

    @property
    def weights(self) -> str | None:
        """The model that answered, as its plan says."""
        model = self.plan.get("model")
        return str(model["path"]) if isinstance(model, dict) and "path" in model else None

    @property
    def task(self) -> str:
        """Kind of the questions as the spec said; '' where it is to be found."""
        return str(self.plan.get("task") or "")


def read_answers(model: Model, place: Path, *, media_root: Path | None = None) -> tuple[Answers, Collector]:
    """Read a results.json, or the one in a directory; rows that are none are left out, with a fault.

    `media_root` None: where the plan beside the results says.

    Raises:
        InputError: there is none, or it cannot be parsed. FindingsError: there are several.
    """
    files = find_results(place)
    faults = Collector(where=f"--{model}", file=str(files[0]))
    if len(files) > 1:
        names = ", ".join(str(file.relative_to(place)) for file in files[:5])
        faults.add(rules.SEVERAL, f"{len(files)} files: {names}", "one", at=At(), fix="give the path of one of them")
        raise FindingsError(faults.findings())
    digest = hashlib.sha256()
    rows: list[Result] = []
    for index, _, _, value in iter_array(files[0], on_bytes=digest.update):
        row = parse_row(index, value, faults)
        if row is not None and not row.gt.strip():
            faults.add(rules.NO_TRUTH, f"gt: {quote(row.gt)}", "a ground truth", at=At(index, "/gt"))
        elif row is not None:
            rows.append(row)
    plan = _read_plan(files[0].with_name(PLAN))
    complete = not plan or files[0].with_name(RUN).is_file()
    said = _at(plan, ("data", "media_root"))
    root = media_root or (Path(str(said)) if said else None)
    return Answers(model, files[0], tuple(rows), digest.hexdigest(), plan, complete, root), faults


def judge_settings(answers: tuple[Answers, ...], faults: Collector) -> None:
    """Compare what decides an answer beside the weights, where the runs say it."""
    for each in answers:
        if not each.complete:
            saw = f"{each.file.parent} has no {RUN}: that evaluation was not completed"
            faults.add(rules.INCOMPLETE, saw, "results of a complete run", at=At(file=str(each.file)), fix=_AGAIN)
    for one, other in pairwise(answers):
        _same_settings(one, other, faults)
        same = one.weights is not None and one.weights == other.weights
        if one.file.samefile(other.file) or same:
            saw = f"{one.model} and {other.model} are both {one.weights if same else one.file}"
            faults.add(rules.SAME_MODEL, saw, "two models", at=At(), fix="give the results of the other model")


def _same_settings(one: Answers, other: Answers, faults: Collector) -> None:
    at = At(file=str(other.file.with_name(PLAN)))
    compared = (
        (rules.DATA, ("data", "sha256"), "annotations"),
        (rules.FRAMES, ("sampling",), "frame sampling"),
        (rules.PROMPT, ("system_prompt",), "system prompt"),
        (rules.PROMPT, ("prompt_format",), "prompt format"),
        (rules.GENERATION, ("generation",), "generation"),
    )
    for rule, keys, what in compared:
        values = [_generation(_at(each.plan, keys)) for each in (one, other)]
        if values[0] != values[1] and None not in values:
            saw = f"{what} of {one.model}: {quote(values[0])}, of {other.model}: {quote(values[1])}"
            faults.add(rule, saw, "the same", at=at, fix=_AGAIN)


def _generation(value: object) -> object:
    """How many prompts are answered together decides no answer."""
    return {k: v for k, v in value.items() if k != "batch_size"} if isinstance(value, dict) else value


def _at(plan: Mapping[str, object], keys: tuple[str, ...]) -> object:
    value: object = plan
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _read_plan(path: Path) -> Mapping[str, object]:
    """Read the plan of the run; a file that is none of ours counts as no plan."""
    try:
        plan = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    ours = isinstance(plan, dict) and str(plan.get("schema", "")).startswith("tao-run/")
    return plan if ours else {}
