"""The shell scripts: they parse, say what is missing, do nothing twice, and install no CUDA on a machine without a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]
# What setup.sh needs besides Python.
TOOLS = ("bash", "cat", "cksum", "cut", "dirname", "du", "grep", "sed", "tr", "uname")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the part of the repository that setup installs, with no .venv."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("scripts", "runtime"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    return tmp_path


def setup(checkout: Path, *extras: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "scripts/setup.sh", *extras]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_parses_and_stops_at_errors(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "set -euo pipefail" in script.read_text()


def test_setup_without_python_says_what_it_wants(checkout: Path) -> None:
    folder = checkout / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    done = setup(checkout, PATH=str(folder), PYTHON="")
    assert done.returncode == 2
    assert "want Python 3.11 or newer with the venv module; found none" in done.stderr
    assert not (checkout / ".venv").exists()


def test_setup_takes_no_python_that_is_too_old(checkout: Path) -> None:
    folder = checkout / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    (folder / "python3").write_text("#!/bin/bash\nexit 1\n")  # what the probe ends with on 3.10
    (folder / "python3").chmod(0o755)
    assert "found none" in setup(checkout, PATH=str(folder), PYTHON="").stderr


@pytest.mark.slow
def test_setup_installs_once_and_without_cuda(checkout: Path) -> None:
    first, second = setup(checkout, "train"), setup(checkout, "train")
    assert first.returncode == 0, first.stderr
    assert "torch 2.13.0+cpu, CUDA None, 0 CUDA packages" in first.stdout
    assert second.stdout == "setup: .venv is up to date (train, cpu)\n"
    shown = subprocess.run([checkout / ".venv/bin/tao-run", "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
