"""make_annotations.py: from a CSV and real clips to records, or to every reason why not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from factory import make_clip

SCRIPT = Path(__file__).parents[2] / "skills/tao-finetune-cosmos-reason/scripts/make_annotations.py"


@pytest.fixture
def media(tmp_path: Path) -> Path:
    make_clip(tmp_path / "media" / "a.mp4", fps=8)
    (tmp_path / "media" / "text.mp4").write_text("not a video")
    return tmp_path / "media"


def run(media: Path, csv: str) -> subprocess.CompletedProcess[str]:
    labels = media.parent / "labels.csv"
    labels.write_text(csv)
    command = [sys.executable, SCRIPT, "--labels", labels, "--media", media, "--out", media.parent / "out.json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_writes_records_with_the_frame_rate_of_the_file(media: Path) -> None:
    done = run(media, 'file,question,answer\na.mp4,"Left, or right?",left\n')
    assert done.returncode == 0, done.stderr
    assert json.loads((media.parent / "out.json").read_text()) == [
        {
            "id": "a-1",
            "video": "a.mp4",
            "video_fps": 8.0,
            "conversations": [
                {"from": "human", "value": "<video>\nLeft, or right?"},
                {"from": "gpt", "value": "left"},
            ],
        }
    ]


def test_reports_every_bad_row_and_writes_nothing(media: Path) -> None:
    rows = "a.mp4,q,a\nno.mp4,q,a\ntext.mp4,q,a\n../labels.csv,q,a\na.mp4,,a\na.mp4,q\n"
    done = run(media, "file,question,answer\n" + rows)
    assert done.returncode == 1
    assert [line.split("row ")[1][:1] for line in done.stderr.splitlines()] == ["2", "3", "4", "5", "6"]
    for reason in (
        "no such file",
        "not a readable video",
        "outside the media folder",
        "question is empty",
        "answer is",
    ):
        assert reason in done.stderr
    assert not (media.parent / "out.json").exists()


@pytest.mark.parametrize(("csv", "want"), [("file,question\n", "want also answer"), ("", "want also file, question")])
def test_wrong_columns(media: Path, csv: str, want: str) -> None:
    done = run(media, csv)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert want in done.stderr


def test_does_not_overwrite(media: Path) -> None:
    (media.parent / "out.json").write_text("mine")
    assert run(media, "file,question,answer\na.mp4,q,a\n").returncode == 2
    assert (media.parent / "out.json").read_text() == "mine"
