"""The script runs as a process, with the exit codes of the contract."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from factory import make_clip

SCRIPT = Path(__file__).parents[2] / "scripts" / "analyze_gaps.py"
TURNS = [{"from": "human", "value": "<video>\nIs it red?"}, {"from": "gpt", "value": "yes"}]


def analyze(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    paths = {"--results-dir": "run", "--gaps-parquet": "gaps.parquet", "--kpi-ann-path": "kpi.json"}
    flags = [part for name, value in paths.items() for part in (name, str(folder / value))]
    command = [sys.executable, str(SCRIPT), *flags, "--kpi-media-path", str(folder), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def make_run(folder: Path, said: str | None) -> None:
    make_clip(folder / "a.mp4", num_frames=2)
    (folder / "run").mkdir()
    row = {"video_id": "1", "response": said, "question": "Is it red?", "gt": "yes"}
    (folder / "run" / "results.json").write_text(json.dumps([row]))
    (folder / "kpi.json").write_text(json.dumps([{"id": 1, "video": "a.mp4", "conversations": TURNS}]))


def test_prints_the_worst_slices(tmp_path: Path) -> None:
    make_run(tmp_path, "No, it is blue.")
    done = analyze(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Is it red?" in done.stdout
    assert "1 of 1 answers fail (FN 1), 100.0% [20.7% to 100.0%]" in done.stdout
    assert (tmp_path / "gaps.parquet").is_file()


def test_json_is_the_report(tmp_path: Path) -> None:
    make_run(tmp_path, "Yes.")
    report = json.loads(analyze(tmp_path, "--json").stdout)
    assert (report["schema"], report["ok"], report["counts"]["failures"]) == ("tao-run/gaps/1", True, 0)
    assert json.loads(analyze(tmp_path, "--json", "--match", "exact").stdout)["counts"]["failures"] == 1


def test_findings_end_with_one_and_what_can_be_written_is(tmp_path: Path) -> None:
    make_run(tmp_path, None)
    done = analyze(tmp_path)
    assert done.returncode == 1
    assert "error[gaps/answer-null] results.json" in done.stdout
    assert (tmp_path / "gaps.parquet").is_file()


def test_unreadable_input_ends_with_two_and_one_line(tmp_path: Path) -> None:
    make_run(tmp_path, "Yes.")
    (tmp_path / "run" / "results.json").write_text('[{"video_id": ')
    done = analyze(tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip().startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "gaps.parquet").exists()
