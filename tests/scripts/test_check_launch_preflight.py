"""The script as a launcher calls it: flags, exit codes, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from factory import make_dataset, make_record, make_snapshot, write_annotations

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_launch_preflight.py"


def call(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "XDG_CACHE_HOME": str(cwd / "cache")}
    command = [sys.executable, str(SCRIPT), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=60, check=False)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    train, val = make_dataset(tmp_path / "train", 160), make_dataset(tmp_path / "val", 4, seed=9)
    model = make_snapshot(tmp_path / "model")
    path = tmp_path / "spec.json"
    data = {"train_dataset": {"annotation_path": str(train)}, "val_dataset": {"annotation_path": str(val)}}
    policy = {"model_name_or_path": str(model)}
    path.write_text(json.dumps({"results_dir": str(tmp_path / "out"), "custom": data, "policy": policy}))
    return path


def test_good_spec_is_0_and_override_makes_it_1(spec: Path, tmp_path: Path) -> None:
    good = call("--spec", spec, "--json", cwd=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["schema"] == "tao-run/report/1"
    bad = call("--spec", spec, "train.train_policy.mini_batch=5", cwd=tmp_path)
    assert bad.returncode == 1
    assert "error[cosmos_reason/batch-divides]" in bad.stdout


def test_every_record_is_asked_for_required_fields(tmp_path: Path) -> None:
    records = [make_record(i) for i in range(99)] + [make_record(99, video_fps=0)]
    path = write_annotations(tmp_path / "d", records)
    result = call("--path", f"train={path}", "--json-required-field", "train=id,video_fps", cwd=tmp_path)
    assert result.returncode == 1
    assert "record 99 /video_fps): video_fps: 0; want a value in every record" in result.stdout


@pytest.mark.parametrize("args", [["--spec", "none.yaml"], ["--path", "a="], ["--path", "x"], [], ["a.b=1"]])
def test_unusable_arguments_are_2_and_no_traceback(tmp_path: Path, args: list[str]) -> None:
    result = call(*args, cwd=tmp_path)
    assert result.returncode == 2
    assert "error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_truncated_annotations_name_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"id": 1},\n {"id"')
    result = call("--path", f"train={path}", cwd=tmp_path)
    assert result.returncode == 1
    assert "2:7: the file ends inside a value: truncated" in result.stdout
