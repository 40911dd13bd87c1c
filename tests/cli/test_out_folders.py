"""A folder that cannot be made because a file is in its place is said, in words, before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

from project import Project
from shipping import rows, write
from tao_runtime.cli.app import app
from tao_runtime.data.paths import make_folder, refuse_file
from tao_runtime.errors import InputError

PLACES = ("file", "file/below", "file/far/below")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("precious")
    return tmp_path


def refused(root: Path, *words: str) -> None:
    done = CliRunner().invoke(app, list(words))
    assert isinstance(done.exception, InputError) and "file is a file; want" in str(done.exception), done.exception
    assert (root / "file").read_text() == "precious"


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_below_a_file_is_refused_and_another_is_made(root: Path, place: str) -> None:
    for refuse in (refuse_file, make_folder):
        with pytest.raises(InputError, match=r"--fix file.*: file is a file; want a folder"):
            refuse(Path(place), "--fix")
    refuse_file(root / "new/folder")
    assert not (root / "new").exists()
    make_folder(root / "new/folder")
    make_folder(root / "new/folder")


@pytest.mark.parametrize("place", PLACES)
def test_commands_refuse_it(root: Path, place: str) -> None:
    refused(root, "ship", "--base", str(write(root / "b", rows("1"))), "--tuned", "b", "--out", place)
    refused(root, "ship", "--spec", "no.yaml", "--base", "b", "--tuned", "b", "--out", place)
    refused(root, "prepare", "general", "--out", place)
    refused(root, "check", "--spec", str(Project(root / "project").spec()), "--fix", place)
    if place != "file":  # which is there already, and so is refused as any other folder is
        refused(root, "convert", "b", "--family", "cosmos_predict2", "--out", place)


@pytest.mark.parametrize("family", ["cosmos_reason", "cosmos3_reasoner", "cosmos_predict2"])
def test_demos_refuse_it(root: Path, family: str) -> None:
    refused(root, "demo", family, "--prepare-only", "--out", "file")
