"""Every family that answers can be asked again: another model, another place, other questions, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from specs import filled
from tao_runtime.spec.base import Spec
from tao_runtime.spec.families import FAMILIES
from tao_runtime.spec.load import load_spec

ANSWERING = [
    family.actions["evaluate"]
    for family in FAMILIES.values()
    if family.actions["evaluate"].acting_on is not Spec.acting_on
]
MOVED = {"cosmos_reason": {"results_dir", "model"}, "cosmos3_reasoner": {"job", "model"}}


def load(spec: type[Spec], folder: Path, *overrides: str) -> Spec:
    path = folder / "evaluate.yaml"
    task = {"job": {"task": "vlm"}} if "job" in spec.model_fields else {}
    path.write_text(yaml.safe_dump(task))
    return load_spec(path, [*filled(spec), *overrides], action="evaluate", family=spec.family)


def test_there_are_some() -> None:
    assert {spec.family for spec in ANSWERING} == set(MOVED)


@pytest.mark.parametrize("spec", ANSWERING, ids=lambda spec: spec.family)
@pytest.mark.parametrize("base", ["", "models/base"])
def test_the_same_questions_to_another_model(spec: type[Spec], base: str, tmp_path: Path) -> None:
    before = load(spec, tmp_path)
    after = load(spec, tmp_path, *before.acting_on("models/other", base=base, output_dir="out/other"))
    assert [each.location for each in after.models()] == ["models/other", *([base] if base else [])]
    assert after.output_dir() == "out/other"
    changed = {name for name in type(after).model_fields if getattr(before, name) != getattr(after, name)}
    assert changed <= MOVED[spec.family]


@pytest.mark.parametrize("spec", ANSWERING, ids=lambda spec: spec.family)
def test_other_questions_to_the_same_model(spec: type[Spec], tmp_path: Path) -> None:
    before = load(spec, tmp_path)
    ref = before.datasets()[0]
    after = load(spec, tmp_path, f"{ref.annotation_key}=general", *before.any_question())
    assert after.datasets()[0].annotation == "general"
    assert after.models() == before.models()
