"""What the tests of the ship gate share: results files with as many right answers as wanted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tao_runtime.score.ship import ShipReport
from tao_runtime.ship.judge import Options, ResultSet, judge_ship

DIRECTIONS = ("left", "right", "up", "down")


def row(index: int, *, right: bool, **changes: Any) -> dict[str, Any]:
    truth = DIRECTIONS[index % 4]
    wrong = DIRECTIONS[(index + 1) % 4]
    asked = {"question": "Which way?", "gt": truth, "video": f"{index}.mp4"}
    return {"video_id": f"c{index}", "response": truth if right else wrong, **asked, **changes}


def rows(pattern: str) -> list[dict[str, Any]]:
    """`1` is right, `0` is wrong."""
    return [row(index, right=each == "1") for index, each in enumerate(pattern)]


def write(folder: Path, answers: Sequence[Any], plan: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(answers))
    if plan is not None:
        (folder / "plan.json").write_text(json.dumps({"schema": "tao-run/evaluate-plan/1", **plan}))
    return folder


def judged(
    root: Path, base: Sequence[Any], tuned: Sequence[Any], *others: tuple[str, str], **options: Any
) -> ShipReport:
    """Judge an evaluation; `others` are general sets as patterns of base and tuned."""
    sets = [ResultSet("evaluation", "evaluation", {"base": write(root / "b", base), "tuned": write(root / "t", tuned)})]
    for number, (before, after) in enumerate(others):
        places = write(root / f"gb{number}", rows(before)), write(root / f"gt{number}", rows(after))
        sets.append(ResultSet(f"general-{number}", "general", {"base": places[0], "tuned": places[1]}))
    return judge_ship(sets, Options(**options))


def rules(report: ShipReport) -> set[str]:
    return {finding.rule for finding in report.findings}
