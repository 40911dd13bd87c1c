"""`${oc.env:NAME[,default]}` and `${now:FORMAT}` in a spec: where a spec reads the environment and the clock."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from tao_runtime.errors import Finding, Fix
from tao_runtime.spec.source import Entry

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_OC_ENV = re.compile(r"oc\.env:\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:,(.*))?", re.DOTALL)
_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)

_NOW = re.compile(r"now:(.+)", re.DOTALL)

Report = Callable[[Finding], None]
NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class _Problem:
    rule: str
    saw: str
    want: str
    fix: str


def whole_variable(value: object) -> str | None:
    """Return what stands between the braces if a value is nothing but one variable."""
    found = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


@lru_cache(maxsize=1)
def started() -> datetime:
    """The time of a process, read once: every `${now:...}` of all its specs is the same instant."""
    return datetime.now().astimezone()


def replace_inside(value: Any, entry: Entry, *, file: str, report: Report, preset: Mapping[str, str] = NONE) -> Any:
    """Return the value with the variables inside its texts replaced, also those in lists."""
    if isinstance(value, (list, tuple)):
        return [replace_inside(item, entry, file=file, report=report, preset=preset) for item in value]
    if not isinstance(value, str):
        return value
    return _VARIABLE.sub(lambda found: look_up(found[1], entry, file=file, report=report, preset=preset) or "", value)


def look_up(text: str, entry: Entry, *, file: str, report: Report, preset: Mapping[str, str] = NONE) -> str | None:
    """Return the value of `oc.env:NAME[,default]` or `now:FORMAT`; None, after a report, if there is none.

    `preset` holds what a variable is worth that neither the environment nor the text gives.
    """
    answer = _read(text, preset)
    if isinstance(answer, str):
        return answer
    report(
        Finding(
            rule=f"spec/{answer.rule}",
            severity="error",
            where=entry.key,
            saw=answer.saw,
            want=answer.want,
            fix=Fix(text=answer.fix),
            file="command line" if entry.from_command else file,
            pointer=f"line {entry.line}" if entry.line else None,
        )
    )
    return None


def _read(text: str, preset: Mapping[str, str]) -> str | _Problem:
    if clock := _NOW.fullmatch(text.strip()):
        return started().strftime(clock[1])
    found = _OC_ENV.fullmatch(text.strip())
    if found is None:
        return _Problem(
            "variable",
            f"${{{text}}}",
            "${oc.env:NAME}, ${oc.env:NAME,default} or ${now:FORMAT}",
            "write the value itself",
        )
    name, default = found[1], found[2]
    if _SECRET.search(name):
        return _Problem(
            "secret",
            f"${{oc.env:{name}}}",
            "no secret, because specs are written to disk",
            "remove it; credentials are read from the environment where they are needed",
        )
    if name in os.environ:
        return os.environ[name]
    if default is not None:
        return str(default).strip().strip("\"'")
    if name in preset:
        return preset[name]
    fix = f"export {name}, or write ${{oc.env:{name},DEFAULT}}"
    return _Problem("variable", f"the environment has no {name}", "a variable that is set", fix)
