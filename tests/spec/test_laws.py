"""Laws of loading, on specs that hypothesis makes up from the keys themselves."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from specs import filled, to_toml, write
from tao_runtime.errors import TaoError
from tao_runtime.spec.families import spec_classes
from tao_runtime.spec.keys import KeyInfo, iter_keys
from tao_runtime.spec.load import load_spec

SPECS = {f"{spec.family} {spec.action}": spec for spec in spec_classes()}
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).filter(
    lambda text: "${" not in text and text.strip() != "???"
)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.booleans(),
    st.integers(-2, 60),
    st.floats(0, 4, allow_nan=False),
    TEXTS,
    st.lists(st.floats(0, 0.5), min_size=1, max_size=4),
    st.lists(TEXTS, max_size=3),
)


def values_of(key: KeyInfo) -> st.SearchStrategy[Any]:
    """Values that the key accepts: its choices, its default, and what passes of anything."""
    literals = [item for part in get_args(key.annotation) if get_origin(part) is Literal for item in get_args(part)]
    good = [item for item in (*key.choices, *literals) if key.accepts(item)]
    known = st.sampled_from(good) if good else st.just(known_default(key))
    return st.one_of(known, VALUES).map(lambda value: value if key.accepts(value) else known_default(key))


def known_default(key: KeyInfo) -> Any:
    if key.required:
        return "x" if key.accepts("x") else 17
    return list(key.default) if isinstance(key.default, tuple) else key.default


@st.composite
def trees(draw: st.DrawFn, name: str) -> dict[str, Any]:
    keys = [key for key in iter_keys(SPECS[name]) if not key.optional_table]
    chosen = draw(st.lists(st.sampled_from(keys), unique_by=lambda key: key.path, max_size=12))
    tree: dict[str, Any] = {}
    for key in {key.path: key for key in (*chosen, *(key for key in keys if key.required))}.values():
        *tables, name = key.path.split(".")
        inner = tree
        for table in tables:
            inner = inner.setdefault(table, {})
        inner[name] = draw(values_of(key))
    return tree


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_format_gives_the_same_identity(name: str, data: st.DataObject) -> None:
    tree = data.draw(trees(name))
    without_null = json.loads(
        json.dumps(tree), object_hook=lambda item: {k: v for k, v in item.items() if v is not None}
    )
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        files = (
            write(folder, json.dumps(without_null), "spec.json"),
            write(folder, yaml.safe_dump(without_null, allow_unicode=True), "spec.yaml"),
            write(folder, to_toml(without_null), "spec.toml"),
        )
        asked = {"action": SPECS[name].action, "family": SPECS[name].family}
        assert len({load_spec(file, **asked).sha256 for file in files}) == 1


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_an_override_is_idempotent_and_equals_the_file(name: str, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([key for key in iter_keys(SPECS[name]) if not key.optional_table]))
    value = data.draw(values_of(key))
    override = f"{key.path}={json.dumps(value)}"
    asked = {"action": SPECS[name].action, "family": SPECS[name].family}
    with tempfile.TemporaryDirectory() as directory:
        path = write(Path(directory), "{}", "spec.yaml")
        once = load_spec(path, [*filled(SPECS[name]), override], **asked)
        twice = load_spec(path, [*filled(SPECS[name]), override, override], **asked)
    assert once.sha256 == twice.sha256


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=4), TEXTS)
def test_nothing_but_our_own_errors(tree: dict[str, Any], override: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), yaml.safe_dump(tree))
        try:
            load_spec(path, [override] if override else [], action="train")
        except TaoError as error:
            assert "pydantic" not in str(error)
        else:
            raise AssertionError("a spec without its required keys was loaded")
