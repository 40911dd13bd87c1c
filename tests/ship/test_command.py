"""The command: exit codes, JSON for machines, and words for people."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from shipping import rows, write
from tao_runtime.bank.contracts import CONTRACTS
from tao_runtime.bank.schema import contract_schema
from tao_runtime.cli.app import app
from tao_runtime.errors import InputError


def ship(root: Path, base: str, tuned: str, *more: str) -> tuple[int, str]:
    places = ("--base", str(write(root / "b", rows(base))), "--tuned", str(write(root / "t", rows(tuned))))
    done = CliRunner().invoke(app, ["ship", *places, "--out", str(root / "out"), *more])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


@pytest.mark.parametrize(
    ("base", "tuned", "code", "verdict"),
    [
        ("0" * 40, "1" * 40, 0, "better"),
        ("1" * 40, "0" * 40, 1, "worse"),
        ("11", "11", 0, "cannot tell"),
        ("10" * 200, "10" * 200, 0, "same"),
    ],
)
def test_exit_codes(tmp_path: Path, base: str, tuned: str, code: int, verdict: str) -> None:
    exit_code, said = ship(tmp_path, base, tuned)
    assert exit_code == code
    assert f"points, n = {len(base)}: {verdict}" in said.replace("\n", "")
    assert (tmp_path / "out/ship.html").is_file()


def test_json_is_of_its_schema_and_the_same_as_the_file(tmp_path: Path) -> None:
    general = f"general={write(tmp_path / 'gb', rows('1' * 9))},{write(tmp_path / 'gt', rows('1' * 9))}"
    _, said = ship(tmp_path, "0" * 40, "1" * 40, "--set", general, "--json")
    assert json.loads(said) == json.loads((tmp_path / "out/ship.json").read_text())
    jsonschema.validate(json.loads(said), contract_schema(CONTRACTS["ship"]))


def test_tolerance_decides_what_is_the_same(tmp_path: Path) -> None:
    assert ship(tmp_path, "1" * 30, "1" * 30, "--tolerance", "0.2")[1].count("same") > 0


@pytest.mark.parametrize("text", ["general", "general=a", "=a,b", "general=a,", "general=a,b,c,d"])
def test_a_set_has_a_name_and_its_results(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="NAME=BASE,TUNED"):
        ship(tmp_path, "1", "1", "--set", text)
