"""The shell scripts: they parse, say what is missing, do nothing twice, and install no CUDA without a GPU."""

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
    """What setup.sh reads before it installs anything."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def tools_only(checkout: Path) -> Path:
    """A PATH on which there is no Python."""
    folder = checkout / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    return folder


def setup(checkout: Path, *extras: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "scripts/setup.sh", *extras]
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_parses_and_stops_at_errors(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "set -euo pipefail" in script.read_text()


def test_setup_without_python_says_what_it_wants(checkout: Path, tools_only: Path) -> None:
    done = setup(checkout, PATH=str(tools_only), PYTHON="")
    assert done.returncode == 2
    assert "want Python 3.11 or newer with the venv module; found none" in done.stderr
    assert not (checkout / ".venv").exists()


def test_setup_takes_no_python_that_is_too_old(checkout: Path, tools_only: Path) -> None:
    (tools_only / "python3").write_text("#!/bin/bash\nexit 1\n")  # what the probe ends with on 3.10
    (tools_only / "python3").chmod(0o755)
    assert "found none" in setup(checkout, PATH=str(tools_only), PYTHON="").stderr


@pytest.mark.slow
def test_setup_installs_once_and_without_cuda(checkout: Path) -> None:
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    shutil.copytree(ROOT / "runtime", checkout / "runtime", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    first, second = setup(checkout, "train"), setup(checkout, "train")
    assert first.returncode == 0, first.stderr
    assert "torch 2.13.0+cpu, CUDA None, 0 CUDA packages" in first.stdout
    assert second.stdout == "setup: .venv is up to date (train, cpu)\n"
    shown = subprocess.run([checkout / ".venv/bin/tao-run", "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0
