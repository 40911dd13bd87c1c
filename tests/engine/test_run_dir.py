"""The run directory: only the main process writes, line by line; run.json comes last and whole."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tao_runtime.engine.run_dir import METRICS, RUN, STATUS, RunLog, RunRecord, now

RECORD = RunRecord(
    action="train", family="f", spec_sha256="s", started_at=now(), finished_at=now(), seconds=1.5, steps=3
)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_and_metrics_are_appended(tmp_path: Path) -> None:
    for attempt in range(2):  # a resumed run goes on in the same files
        log = RunLog(tmp_path, is_main=True)
        log.status("start", step=attempt)
        log.metrics(attempt, {"loss": 0.5})
    assert [(line["event"], line["step"]) for line in lines(tmp_path / STATUS)] == [("start", 0), ("start", 1)]
    assert lines(tmp_path / METRICS) == [{"step": 0, "loss": 0.5}, {"step": 1, "loss": 0.5}]


def test_a_gate_is_an_event_and_part_of_the_record(tmp_path: Path) -> None:
    log = RunLog(tmp_path, is_main=True)
    log.gate("gradient", ok=True, visual=0.25)
    [event] = lines(tmp_path / STATUS)
    assert {"event": "gate", "gate": "gradient", "ok": True, "visual": 0.25}.items() <= event.items()
    log.complete(RECORD.model_copy(update={"gates": tuple(log.gates)}))
    written = json.loads((tmp_path / RUN).read_text())
    assert written["gates"] == [{"gate": "gradient", "ok": True, "detail": {"visual": 0.25}}]


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    log = RunLog(tmp_path, is_main=False)
    log.status("start")
    log.gate("gradient", ok=True)
    log.metrics(1, {"loss": 1.0})
    log.complete(RECORD)
    assert list(tmp_path.iterdir()) == []


def test_a_complete_run_says_so(tmp_path: Path) -> None:
    RunLog(tmp_path, is_main=True).complete(RECORD)
    written = json.loads((tmp_path / RUN).read_text())
    assert (written["schema"], written["status"], written["steps"]) == ("tao-run/run/1", "complete", 3)
    assert RunRecord.model_validate(written | {"gates": ()}, strict=False) == RECORD
    assert [path.name for path in tmp_path.iterdir()] == [RUN]


def test_time_is_utc() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", now())


def test_a_metric_that_is_not_finite_is_still_json(tmp_path: Path) -> None:
    RunLog(tmp_path, is_main=True).metrics(1, {"loss": float("nan"), "norm": float("inf"), "lr": 0.1})
    [line] = (tmp_path / METRICS).read_text().splitlines()
    strict = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict == {"step": 1, "loss": None, "norm": None, "lr": 0.1}
