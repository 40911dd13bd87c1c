"""Marked blocks are filled from the specs, once and for all, and wrong marks are named."""

from __future__ import annotations

import pytest

from tao_runtime.bank.blocks import fill_blocks
from tao_runtime.bank.pages import parameters_page, rules_page
from tao_runtime.preflight.rules import RULES
from tao_runtime.spec.families import FAMILIES
from tao_runtime.spec.keys import iter_keys

FAMILY = next(iter(FAMILIES.values()))


def block(call: str) -> str:
    return f"a <!-- tao-run:begin {call} --><!-- tao-run:end --> b"


@pytest.mark.parametrize(
    ("call", "want"),
    [
        ("default train.optm_lr", "`1e-06`"),
        ("default policy.model_max_length train", "`40960`"),
        ("default results_dir", "none: required"),
        ("shorthand", "| `learning_rate` | `train.optm_lr` |"),
        ("required train", "- `custom.train_dataset.annotation_path`: LLaVA annotation file"),
        ("critical-overrides train", "| `train.train_batch_per_replica` | `32` | a multiple of mini_batch"),
        (
            "actions",
            "| cosmos_reason | `quantize` | Smaller weights for serving, and the proof that they",
        ),
    ],
)
def test_blocks(call: str, want: str) -> None:
    text, findings = fill_blocks(block(call), FAMILY, file="page.md")
    assert want in text and findings == ()
    assert fill_blocks(text, FAMILY, file="page.md") == (text, ())


@pytest.mark.parametrize(
    ("call", "saw"),
    [
        ("defualt train.optm_lr", "no block of this name"),
        ("default train.optm_lrr", "no key train.optm_lrr"),
        ("default", "default of which key?"),
        ("required fly", "no action fly"),
    ],
)
def test_wrong_marks(call: str, saw: str) -> None:
    text, (finding,) = fill_blocks("\n" + block(call), FAMILY, file="page.md")
    assert text == "\n" + block(call)
    assert (finding.rule, finding.saw, finding.file, finding.pointer) == ("bank/block", saw, "page.md", "line 2")


def test_a_mark_without_its_partner() -> None:
    for text in ("<!-- tao-run:begin shorthand -->", "<!-- tao-run:end -->"):
        _, (finding,) = fill_blocks(text, FAMILY, file="page.md")
        assert "without its" in finding.saw


def test_pages_list_every_key_and_rule() -> None:
    parameters, rules = parameters_page(FAMILY), rules_page(FAMILY)
    for spec in FAMILY.actions.values():
        assert all(f"| `{key.path}` |" in parameters for key in iter_keys(spec))
    names = [rule.name for rule in RULES.values() if not rule.families or FAMILY.name in rule.families]
    assert names and all(f"| `{name}` |" in rules for name in names)
