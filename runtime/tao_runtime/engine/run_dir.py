"""The run directory: fixed names, appended to as things happen; run.json last, so only a complete run has it."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from tao_runtime.engine.commits import write_atomically
from tao_runtime.errors import Frozen

RUN = "run.json"
PLAN = "plan.json"
REPORT = "report.json"
CONFIG = "config.yaml"
STATUS = "status.jsonl"
METRICS = "metrics.jsonl"
LEDGER = "ledger-{label}.npz"


class Gate(Frozen):
    """The outcome of one gate of the run."""

    gate: str
    ok: bool
    detail: dict[str, JsonValue] = Field(default_factory=dict)


class RunRecord(Frozen):
    """What run.json says: written last, by a run that did all that its plan says."""

    schema_version: Literal["tao-run/run/1"] = Field(default="tao-run/run/1", alias="schema")
    action: str
    family: str
    spec_sha256: str
    status: Literal["complete"] = "complete"
    started_at: str
    finished_at: str
    seconds: float
    steps: int = 0
    records: int = 0
    resumed_from: int | None = None
    bad_samples: int = 0
    gates: tuple[Gate, ...] = ()
    metrics: dict[str, float] = Field(default_factory=dict)
    outputs: dict[str, str] = Field(default_factory=dict, description="what was made, relative to the run directory")
    parents: dict[str, str] = Field(default_factory=dict, description="sha256 of what the run was made from")


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _finite(value: JsonValue) -> JsonValue:
    """Return null for a number that JSON has no name for: a reader must be able to read the line of a bad step."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


class RunLog:
    """Appends to status.jsonl and metrics.jsonl; only the main process does."""

    def __init__(self, directory: Path, *, is_main: bool) -> None:
        self.directory = directory
        self.is_main = is_main
        self.gates: list[Gate] = []
        self._unwritten: dict[str, str] = {}  # file -> lines that the disk refused

    def status(self, event: str, **detail: JsonValue) -> None:
        """Append an event to status.jsonl."""
        self._append(STATUS, {"time": now(), "event": event, **detail})

    def gate(self, name: str, *, ok: bool, **detail: JsonValue) -> None:
        """Record a gate's outcome; it also goes into run.json."""
        self.gates.append(Gate(gate=name, ok=ok, detail=detail))
        self.status("gate", gate=name, ok=ok, **detail)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Append a line to metrics.jsonl."""
        self._append(METRICS, {"step": step, **values})

    def _append(self, name: str, line: dict[str, JsonValue] | dict[str, float]) -> None:
        if not self.is_main:
            return
        text = json.dumps({key: _finite(value) for key, value in line.items()}, allow_nan=False) + "\n"
        text = self._unwritten.pop(name, "") + text
        try:
            with (self.directory / name).open("a") as file:
                file.write(text)
        except OSError as error:
            # A full disk must not end a training that can go on. The first new line ends what may be half a line.
            self._unwritten[name] = "\n" + text.lstrip("\n")
            print(f"{name}: {error}; the lines are kept and written later", file=sys.stderr, flush=True)

    def complete(self, record: RunRecord) -> None:
        """Write run.json."""
        if self.is_main:
            write_atomically(self.directory / RUN, record.model_dump_json(by_alias=True, indent=1) + "\n")
