"""A report as a receipt: a run that names one starts only if spec, data and environment are still those it judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue, ValidationError

from tao_runtime.data.launch import RECEIPT
from tao_runtime.errors import Finding, Fix, InputError
from tao_runtime.preflight.report import Report

SHOWN = ("records", "sha256", "media_sha256", "parameters", "weights_sha256", "files_sha256")
WANTED = "the output of check --json"


def read_receipt(path: Path) -> Report:
    """Return the report of a file.

    Raises:
        InputError: it cannot be read, or is no report.
    """
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; want {WANTED}") from error
    except ValidationError as error:
        raise InputError(
            f"{path}: not a report: {error.errors()[0]['msg']}; want the output of check --json"
        ) from error


def judge_receipt(path: Path, now: Report) -> list[Finding]:
    """Compare a receipt with the report of the run that is about to start; each difference is a finding."""
    then = read_receipt(path)
    return [
        Finding(
            rule=RECEIPT.name,
            severity=RECEIPT.severity,
            where=where,
            file=str(path),
            saw=saw,
            want="what was checked is what runs",
            fix=Fix(text="run check again, and read its report before you start"),
        )
        for where, saw in _differences(then, now)
    ]


def _differences(then: Report, now: Report) -> Iterator[tuple[str, str]]:
    if not then.ok:
        yield "report", f"a report with {then.counts.errors} errors"
    if (then.family, then.action) != (now.family, now.action):
        yield "report", f"a report of {then.family} {then.action}, and this is {now.family} {now.action}"
    elif then.spec_sha256 != now.spec_sha256:
        yield "spec", "the spec, or an override, changed since the report"
    for part in ("datasets", "environment"):
        yield from _changed(part, then.facts.get(part), now.facts.get(part))
    old, new = _here(then), _here(now)
    yield from _changed("models", old, {name: new.get(name) for name in old})


def _here(report: Report) -> dict[str, JsonValue]:
    """Return what was seen of the models; one that was not on the machine may have been fetched since."""
    models = report.facts.get("models")
    table = models if isinstance(models, dict) else {}
    return {name: model for name, model in table.items() if isinstance(model, dict) and model.get("files_sha256")}


def _changed(part: str, then: JsonValue, now: JsonValue) -> Iterator[tuple[str, str]]:
    """Yield what differs in a table of the facts, entry by entry."""
    old, new = (value if isinstance(value, dict) else {} for value in (then, now))
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"{part}.{name}", f"{_short(new.get(name))}, and {_short(old.get(name))} when it was checked"


def _short(value: JsonValue) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {str(value[key])[:12]}" for key in SHOWN if key in value)
    return "absent" if value is None else str(value)
