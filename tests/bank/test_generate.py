"""What is generated is right, checked byte for byte, and written whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tao_runtime.bank.generate import generate
from tao_runtime.errors import InputError

REPOSITORY = Path(__file__).parents[2]
SKILL = Path("skills/tao-finetune-cosmos-reason")


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """A small bank: one skill with its info and one page, everything generated."""
    (tmp_path / SKILL / "references").mkdir(parents=True)
    shutil.copy(REPOSITORY / SKILL / "references/skill_info.yaml", tmp_path / SKILL / "references")
    page = "Length: <!-- tao-run:begin default policy.model_max_length --><!-- tao-run:end -->.\n"
    (tmp_path / SKILL / "SKILL.md").write_text(page)
    assert generate(tmp_path) == ()
    return tmp_path


def test_the_repository_is_generated() -> None:
    assert [finding.render() for finding in generate(REPOSITORY, check=True)] == []


def test_writing_twice_changes_nothing(bank: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in bank.rglob("*") if path.is_file()}
    assert generate(bank) == () and generate(bank, check=True) == ()
    assert {path: path.stat().st_mtime_ns for path in bank.rglob("*") if path.is_file()} == before


def test_check_names_what_differs_and_changes_nothing(bank: Path) -> None:
    template, schema = bank / SKILL / "references/spec_template_train.yaml", bank / "schemas/report.schema.json"
    template.write_text("edited: by hand\n")
    schema.unlink()
    found = {(finding.rule, finding.where, finding.saw) for finding in generate(bank, check=True)}
    assert found == {
        ("bank/stale", f"{SKILL}/references/spec_template_train.yaml", "not what the specs and rules give"),
        ("bank/stale", "schemas/report.schema.json", "missing"),
    }
    assert template.read_text() == "edited: by hand\n" and not schema.exists()


def test_orphans_are_found_in_both_modes(bank: Path) -> None:
    for name in ("schemas/old.schema.json", f"{SKILL}/schemas/old.json", f"{SKILL}/references/spec_template_fly.yaml"):
        (bank / name).write_text("{}")
    for check in (True, False):
        assert [finding.rule for finding in generate(bank, check=check)] == ["bank/orphan"] * 3


def test_manifests_name_files_that_exist(bank: Path) -> None:
    top = json.loads((bank / "manifest.json").read_text())
    assert all((bank / path).is_file() for path in top["contracts"].values())
    (skill,) = top["skills"].values()
    inner = json.loads((bank / skill["path"] / "schemas/manifest.json").read_text())
    for action in inner["actions"].values():
        assert (bank / skill["path"] / action["path"]).is_file()
        assert (bank / skill["path"] / action["spec_template"]).is_file()
    assert inner["actions"]["train"]["popular"]["train"]["epoch"] == 10


def test_a_page_is_filled(bank: Path) -> None:
    assert "begin default policy.model_max_length -->`40960`<!--" in (bank / SKILL / "SKILL.md").read_text()


def test_a_wrong_info_is_an_input_error(bank: Path) -> None:
    info = bank / SKILL / "references/skill_info.yaml"
    info.write_text("family: dragon\n")
    with pytest.raises(InputError, match="family dragon does not exist; want one of cosmos_reason"):
        generate(bank)
    info.write_text("a: [\n")
    with pytest.raises(InputError, match=r"skill_info.yaml: while parsing"):
        generate(bank)
    with pytest.raises(InputError, match="has no skills directory"):
        generate(bank / "schemas")
