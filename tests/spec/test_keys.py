"""Every key says what it is, and `explain` tells it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tao_runtime.errors import InputError
from tao_runtime.spec.explain import explain
from tao_runtime.spec.families import spec_classes
from tao_runtime.spec.keys import KeyInfo, find, iter_keys, iter_tables

KEYS = [(spec, key) for spec in spec_classes() for key in iter_keys(spec)]


@pytest.mark.parametrize(("spec", "key"), KEYS, ids=[f"{spec.family}-{spec.action}:{key.path}" for spec, key in KEYS])
def test_a_key_is_documented_and_its_default_is_valid(spec: object, key: KeyInfo) -> None:
    assert len(key.doc) > 8 and key.doc.endswith(".")
    assert key.type_text and "Annotated" not in key.type_text and "FieldInfo" not in key.type_text
    assert key.required or key.accepts(key.default)
    assert key.since in {"7.0.0", "7.0.1", "head", "cosmos-rl", "tao-run", "cosmos-framework", "cosmos-predict"}


def test_tables_are_documented() -> None:
    assert all(table.doc.endswith(".") for spec in spec_classes() for table in iter_tables(spec))


def test_critical_keys_and_aliases_lead_somewhere() -> None:
    for spec in spec_classes():
        assert all(find(spec, path).key for path in spec.critical)
        assert all(target == "" or find(spec, target).unknown is None for target in spec.aliases.values())


def test_explain_a_key() -> None:
    text = explain("learning_rate")
    assert text.startswith("train.optm_lr\n") and "short:   learning_rate" in text
    assert (
        "default: 1e-06" in text
        and "search:  by default; minimum 1e-06; maximum 0.001" in text
        and "cosmos_reason train" in text
    )


def test_explain_by_last_name_joins_the_actions() -> None:
    assert "in:      cosmos_reason evaluate" in explain("f1_threshold")
    assert explain("results_dir", action="train").count("required") == 1
    assert "policy.lora.r_pattern" in explain("policy.lora")


def test_explain_what_does_not_exist() -> None:
    with pytest.raises(InputError, match=r"key optm_lrr: does not exist; did you mean train.optm_lr"):
        explain("optm_lrr")


def test_loading_is_light() -> None:
    code = (
        "import sys, tao_runtime.spec.load; print([m for m in ('torch', 'numpy', 'av', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
