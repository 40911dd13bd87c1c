"""`check --decode`: without torch, with an exit code that tells, and a count of what was decoded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from factory import make_clip
from project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Project(tmp_path)


def check(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from tao_runtime.cli import main; main()", "check", "--spec", str(project.spec())]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, env=dict(os.environ), check=False)


def test_decoding_finds_what_headers_do_not_say(project: Project) -> None:
    path = make_clip(project.train / "clip_0.mp4", num_frames=64, faststart=True)
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(b"mdat") + 4] + b"\xff" * (len(raw) - raw.index(b"mdat") - 4))
    assert check(project).returncode == 0
    done = check(project, "--decode", "all", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["counts"]["decoded"]) == (1, 5)
    (finding,) = [one for one in report["findings"] if one["severity"] == "error"]
    assert (finding["rule"], finding["record"], finding["file"]) == ("media/undecodable", 0, str(path))


def test_a_share_that_is_none_is_refused(project: Project) -> None:
    done = check(project, "--decode", "some")
    assert (done.returncode, done.stderr) == (
        2,
        "error: --decode some: want all, or a share above 0 and up to 1, such as 0.1 or 10%\n",
    )
