"""On a terminal a long look shows how far it is and how long it will take; elsewhere it shows nothing."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from factory import make_record, write_annotations
from project import Project


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    project = Project(tmp_path)
    write_annotations(project.train, [make_record(i, f"clip_{i % 4}.mp4") for i in range(30_000)])
    return project.spec()


def test_a_terminal_sees_each_part_with_the_time_it_will_take(spec: Path) -> None:
    command = [sys.executable, "-c", "from tao_runtime.cli import main; main()", "check", "--spec", str(spec)]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment) as child:
        os.close(theirs)
        seen = b""
        while True:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
    os.close(ours)
    text = seen.decode()
    assert child.returncode == 0
    assert all(part in text for part in ("train records", "train media", "val media", "100%", "0:00:0"))
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert piped.stderr == ""
