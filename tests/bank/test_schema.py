"""The schemas are strict, complete, and agree with the specs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from specs import filled as required
from tao_runtime.bank.contracts import CONTRACTS
from tao_runtime.bank.schema import contract_schema, default_values, spec_schema, to_json
from tao_runtime.bank.templates import render_template
from tao_runtime.spec.base import Spec
from tao_runtime.spec.families import spec_classes
from tao_runtime.spec.keys import find, iter_keys, iter_tables
from tao_runtime.spec.load import load_spec

SPECS = pytest.mark.parametrize("spec", spec_classes(), ids=lambda spec: f"{spec.family}-{spec.action}")


def filled(spec: type[Spec]) -> str:
    """The template as a user fills it: only the keys marked `# required`."""
    given = dict(override.split("=") for override in required(spec))
    lines = []
    for line in render_template(spec).splitlines():
        name = line.split(":")[0].strip()
        value = next((text for key, text in given.items() if key.rpartition(".")[2] == name), "given")
        lines.append(line.replace("???", value).replace(f"'{value}'", value) if line.endswith("# required") else line)
    return "\n".join(lines)


def node_of(schema: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.split("."):
        tables = [schema, *schema.get("anyOf", [])]
        schema = next(table["properties"][name] for table in tables if name in table.get("properties", {}))
    return schema


@SPECS
def test_a_filled_template_passes_its_schema_and_its_spec(spec: type[Spec], tmp_path: Path) -> None:
    text = filled(spec)
    Draft202012Validator(spec_schema(spec)).validate(yaml.safe_load(text))
    (tmp_path / "spec.yaml").write_text(text)
    loaded = load_spec(tmp_path / "spec.yaml", action=spec.action, family=spec.family)
    assert loaded.model_dump(exclude_defaults=True) == load_spec_with_required_only(spec, tmp_path)


def load_spec_with_required_only(spec: type[Spec], folder: Path) -> dict[str, Any]:
    (folder / "empty.yaml").write_text("{}")
    found = load_spec(folder / "empty.yaml", required(spec), action=spec.action, family=spec.family)
    return found.model_dump(exclude_defaults=True)


@SPECS
def test_the_template_holds_every_default_and_marks_what_has_none(spec: type[Spec]) -> None:
    values = yaml.safe_load(render_template(spec))
    assert values == default_values(spec)
    required = [key.path for key in iter_keys(spec) if key.required and not key.optional_table]
    live = [line for line in render_template(spec).splitlines() if not line.lstrip().startswith("#")]
    assert sum(line.endswith("# required") for line in live) == len(required)


@SPECS
def test_metaschema_and_strict_json(spec: type[Spec]) -> None:
    Draft202012Validator.check_schema(spec_schema(spec))
    text = to_json(spec_schema(spec)).decode()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == spec_schema(spec)
    with pytest.raises(ValueError, match="Out of range float"):
        to_json({"maximum": float("inf")})


@SPECS
def test_every_key_is_described_and_no_other_is_allowed(spec: type[Spec]) -> None:
    schema = spec_schema(spec)
    assert schema["additionalProperties"] is False and "$defs" not in json.dumps(schema)
    for key in iter_keys(spec):
        node = node_of(schema, key.path)
        assert node["description"] == key.doc and node["x-since"] == key.since
    for table in iter_tables(spec):
        node = node_of(schema, table.path)
        assert False in [part.get("additionalProperties") for part in (node, *node.get("anyOf", []))]


def test_search_hints_of_upstream_are_all_there() -> None:
    schema = spec_schema(next(spec for spec in spec_classes() if spec.action == "train"))
    decay = node_of(schema, "train.optm_decay_type")
    assert decay["x-automl-option-weights"] == {"linear": 0.1, "sqrt": 0.1, "cosine": 0.4, "none": 0.4}
    assert node_of(schema, "policy.lora.r")["x-automl-math-condition"] == "^ 2"
    assert node_of(schema, "train.optm_warmup_epochs")["x-automl-depends-on"] == "train.epoch"
    assert (node_of(schema, "train.epoch")["x-automl-maximum"], node_of(schema, "train.epoch").get("maximum")) == (
        20,
        None,
    )
    assert schema["x-automl-default-parameters"] == [
        "custom.vision.fps",
        "policy.lora.lora_alpha",
        "policy.lora.lora_dropout",
        "policy.lora.r",
        "train.epoch",
        "train.optm_decay_type",
        "train.optm_lr",
    ]


@SPECS
def test_schema_refuses_what_the_spec_refuses(spec: type[Spec]) -> None:
    values = yaml.safe_load(filled(spec))
    validator = Draft202012Validator(spec_schema(spec))
    assert not validator.is_valid({**values, "unknown": 1})
    *tables, leaf = required(spec)[0].split("=")[0].split(".")
    inner = values
    for table in tables:
        inner = inner[table]
    del inner[leaf]
    assert not validator.is_valid(values)
    assert not validator.is_valid({**values, "results_dir": ""})
    assert find(spec, "unknown").unknown == "unknown"


@pytest.mark.parametrize("name", CONTRACTS)
def test_contracts_are_schemas(name: str) -> None:
    schema = contract_schema(CONTRACTS[name])
    Draft202012Validator.check_schema(schema)
    to_json(schema)
    assert schema["title"] == CONTRACTS[name].__name__
