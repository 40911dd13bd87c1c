"""results.json: one row per answered annotation, streamed in and out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import Field, ValidationError

from tao_runtime.data.fold import At, Collector, RuleInfo, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.errors import FindingsError, Frozen, InputError
from tao_runtime.score.judge import ErrorType

RESULTS_NAME = "results.json"
REQUIRED = ("video_id", "response", "question", "gt")

_FORMAT = "results.json is a list of {video_id, response, question, gt}"
NOT_OBJECT = RuleInfo("results/not-object", "error", "Every row is an object.", _FORMAT)
NO_ID = RuleInfo("results/id-missing", "error", "Every row says which annotation it answers.", _FORMAT)
NO_KEY = RuleInfo(
    "results/key-missing", "error", "Every row has all four keys; a null answer is written as null.", _FORMAT
)
BAD_TYPE = RuleInfo("results/wrong-type", "error", "Texts are strings; only what may be absent is null.", _FORMAT)
RULES = (NOT_OBJECT, NO_ID, NO_KEY, BAD_TYPE)


class Result(Frozen):
    """One answer. The first four keys are those of every evaluator of this format; the rest are ours."""

    video_id: str = Field(description="id of the annotation that was asked")
    response: str | None = Field(description="the generated text; null: nothing was generated")
    question: str
    gt: str = Field(description="ground truth")
    id: str | None = Field(default=None, description="id of the annotation record; video_id where absent")
    video: str | None = Field(default=None, description="media as the annotation names it")
    parsed: str | None = Field(default=None, description="canonical reading of the response; null: unparseable")
    correct: bool | None = None
    error_type: ErrorType | None = None

    @property
    def key(self) -> str:
        """What joins this row to its annotation."""
        return self.id if self.id is not None else self.video_id


_FIELDS = tuple(Result.model_fields)  # looked up once: the property is slow


def read_results(path: Path) -> Iterator[Result]:
    """Stream the rows of a results.json. FindingsError at the first row that is not one, InputError on syntax."""
    faults = Collector(where=RESULTS_NAME, file=str(path))
    for index, _, _, value in iter_array(path):
        row = parse_row(index, value, faults)
        if row is None:
            raise FindingsError(faults.findings())
        yield row


def parse_row(index: int, value: object, faults: Collector) -> Result | None:
    """Return the row, or None and everything that is wrong with it in `faults`. Unknown keys are left out."""
    if not isinstance(value, dict):
        faults.add(NOT_OBJECT, quote(value), "an object per answer", at=At(index))
        return None
    row = {key: value[key] for key in _FIELDS if key in value}
    for key in ("id", "video_id"):
        if isinstance(row.get(key), int) and not isinstance(row[key], bool):
            row[key] = str(row[key])
    if row.get("video_id") is None and row.get("id") is None:
        faults.add(NO_ID, "no id", "video_id (the id of the annotation), or id", at=At(index, "/video_id"))
        return None
    if row.get("video_id") is None:
        row["video_id"] = row["id"]
    try:
        return Result.model_validate(row, strict=True)
    except ValidationError as error:
        for fault in error.errors():
            _explain(str(fault["loc"][0]), row, faults, At(index, f"/{fault['loc'][0]}"))
        return None


def write_results(rows: Iterable[Result], path: Path) -> int:
    """Stream rows into a results.json and return how many; the file appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    num_rows = 0
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("[")
            for row in rows:
                file.write(",\n" if num_rows else "\n")
                file.write(json.dumps(row.model_dump(mode="json"), ensure_ascii=False, allow_nan=False))
                num_rows += 1
            file.write("\n]\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return num_rows


def find_results(place: Path) -> tuple[Path, ...]:
    """Every results.json in a directory, at any depth, in order; or the file itself. Raises InputError if none."""
    if place.is_file():
        return (place,)
    if not place.is_dir():
        raise InputError(f"{place}: does not exist; want a results.json or a directory that holds one")
    found = tuple(sorted(path for path in place.rglob(RESULTS_NAME) if path.is_file()))
    if not found:
        raise InputError(f"{place}: holds no {RESULTS_NAME} at any depth; want the results directory of an evaluation")
    return found


def _explain(key: str, row: dict[str, object], faults: Collector, at: At) -> None:
    if key not in row:
        faults.add(NO_KEY, f"no {key!r}", f"the keys {', '.join(REQUIRED)}", at=at)
        return
    want = {"correct": "true, false or null", "error_type": "FP, FN, WRONG, UNPARSEABLE, MISSING or null"}
    nullable = " or null" if key in ("response", "id", "video", "parsed") else ""
    faults.add(BAD_TYPE, f"{key}: {quote(row[key])}", want.get(key, f"a string{nullable}"), at=at)
