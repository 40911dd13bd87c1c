"""JSON Schema 2020-12 of a spec, and the manifest of a skill's schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from tao_runtime.spec.base import Section, Spec
from tao_runtime.spec.draft import MISSING
from tao_runtime.spec.families import Family
from tao_runtime.spec.keys import iter_keys, iter_tables, section_of

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def to_json(value: object) -> bytes:
    """Strict JSON: a number that JSON does not have is an error, not `Infinity`."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def spec_schema(spec: type[Spec]) -> dict[str, Any]:
    """Return the schema of a spec file. References are written out, so that a reader needs to follow none."""
    schema = _inline(model_schema(spec))
    return {
        "$schema": DIALECT,
        "title": f"{spec.family} {spec.action}",
        "x-family": spec.family,
        "x-action": spec.action,
        "x-automl-default-parameters": list(automl_default(spec)),
        "x-automl-disabled-parameters": list(automl_disabled(spec)),
        "x-popular": popular(spec),
        "default": default_values(spec),
        **{name: value for name, value in schema.items() if name != "title"},
    }


def model_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return pydantic's schema without the titles that repeat the names of the keys."""
    return dict(_without_titles(model.model_json_schema(by_alias=True)))


def contract_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a shared file format."""
    schema = model_schema(model)
    return {
        "$schema": DIALECT,
        "title": model.__name__,
        **{name: part for name, part in schema.items() if name != "title"},
    }


def _without_titles(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_titles(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A property may itself be called "title"; then its value is a schema, not a text.
    return {name: _without_titles(part) for name, part in node.items() if name != "title" or isinstance(part, dict)}


def _inline(schema: dict[str, Any]) -> dict[str, Any]:
    definitions: Mapping[str, Any] = schema.get("$defs", {})

    def write_out(node: Any) -> Any:
        if isinstance(node, list):
            return [write_out(item) for item in node]
        if not isinstance(node, dict):
            return node
        own = {name: write_out(part) for name, part in node.items() if name != "$ref"}
        if "$ref" not in node:
            return own
        return {**write_out(definitions[node["$ref"].rpartition("/")[2]]), **own}

    return {name: write_out(part) for name, part in schema.items() if name != "$defs"}


def default_values(model: type[Section]) -> dict[str, Any]:
    """Return every default, nested. A required key holds `???`; a table that is off until given holds null."""
    values: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        section = section_of(info.annotation)
        if section is not None and info.default is not None:
            values[name] = default_values(section)
        elif info.is_required():
            values[name] = MISSING
        else:
            values[name] = list(info.default) if isinstance(info.default, tuple) else info.default
    return values


def automl_default(spec: type[Spec]) -> tuple[str, ...]:
    """Return the keys that a search varies unless told otherwise."""
    return tuple(sorted(key.path for key in iter_keys(spec) if key.automl.get("enabled") is True))


def automl_disabled(spec: type[Spec]) -> tuple[str, ...]:
    """Return the tables and keys that a search never varies as such."""
    keys = [key.path for key in iter_keys(spec) if key.automl.get("enabled") is False]
    return tuple(sorted([*keys, *(table.path for table in iter_tables(spec))]))


def popular(spec: type[Spec]) -> dict[str, Any]:
    """Return the keys that most users set, nested, with their defaults."""
    values: dict[str, Any] = {}
    for key in iter_keys(spec):
        if key.popular:
            *tables, name = key.path.split(".")
            inner = values
            for table in tables:
                inner = inner.setdefault(table, {})
            inner[name] = key.default
    return values


def skill_manifest(skill: str, family: Family, info: Mapping[str, object]) -> dict[str, Any]:
    """Return what schemas/manifest.json of a skill says."""
    return {
        "schema_version": 1,
        "skill": skill,
        "family": family.name,
        "network_arch": info.get("network_arch", family.name),
        "automl_enabled": bool(info.get("automl_enabled", False)),
        "actions": {
            name: {
                "path": f"schemas/{name}.schema.json",
                "spec_template": f"references/spec_template_{name}.yaml",
                "default": default_values(spec),
                "automl_default_parameters": list(automl_default(spec)),
                "automl_disabled_parameters": list(automl_disabled(spec)),
                "popular": popular(spec),
            }
            for name, spec in family.actions.items()
        },
    }
