"""What a launcher can be asked without a spec: a platform's tools, paths by label, and keys that every record needs."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tao_runtime.data.fold import At, Collector, declare, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.llava import is_positive
from tao_runtime.errors import Finding, Fix, InputError, Severity

# platform -> commands that must be on PATH, and variables that must be set
PLATFORMS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "local": ((), ()),
    "docker": (("docker",), ()),
    "local-docker": (("docker",), ()),
    "remote-docker": (("docker",), ("DOCKER_HOST",)),
    "slurm": (("sbatch", "srun", "sacct"), ()),
    "kubernetes": (("kubectl",), ()),
    "brev": (("brev",), ()),
}
ANNOTATION_SUFFIXES: Final = (".json", ".jsonl")

_SEED = "seed guide: the launch preflight script and its flags"
PLATFORM = declare("launch/platform", "error", "The platform is a known one, and its tools are there.", source=_SEED)
PATH = declare("launch/path", "error", "Every path that a launch names exists on this machine.", source=_SEED)
LABEL = declare("launch/label", "error", "A label in a flag names one of the paths given.", source=_SEED)
RECEIPT = declare(
    "launch/receipt-stale",
    "error",
    "A run that names a report runs what that report judged: spec, data and libraries.",
    source="what changed between the check and the launch was checked by nobody",
)
FIELD = declare("launch/required-field", "error", "Every record, not a sample, has the keys asked for.", source=_SEED)


def split_flag(flag: str, text: str) -> tuple[str, str]:
    """Split LABEL=VALUE. Raises InputError if there is no label or no value."""
    label, _, value = text.partition("=")
    if not label or not value:
        raise InputError(f"{flag}: {text!r}; want LABEL=VALUE, neither of them empty")
    return label, value


def check_launch(
    platform: str | None, paths: Mapping[str, str], fields: Mapping[str, Sequence[str]]
) -> tuple[Finding, ...]:
    """Return what is wrong with a platform, with paths by label, and with required keys by label."""
    found = [*_platform(platform)] if platform is not None else []
    for label in fields:
        if label not in paths:
            known = ", ".join(paths) or "none"
            found.append(
                _finding(LABEL.name, "--json-required-field", f"label {label!r}", f"a label of --path: {known}")
            )
    for label, path in paths.items():
        where = f"--path {label}"
        if "://" in path:
            found.append(_finding(PATH.name, where, path, "a path on this machine", fix="copy it here first"))
        elif not Path(path).exists():
            found.append(_finding(PATH.name, where, f"{path} does not exist", "a file or a directory"))
        elif Path(path).is_file() and (label in fields or path.endswith(ANNOTATION_SUFFIXES)):
            found += _records(where, path, fields.get(label, ()))
        elif label in fields:
            found.append(_finding(PATH.name, where, f"{path} is a directory", "the annotation file itself"))
    return tuple(found)


def _platform(name: str) -> Iterable[Finding]:
    if name not in PLATFORMS:
        close = difflib.get_close_matches(name, PLATFORMS, n=1)
        fix = f"write {close[0]}" if close else None
        yield _finding(PLATFORM.name, "--platform", quote(name), "one of " + ", ".join(PLATFORMS), fix=fix)
        return
    tools, variables = PLATFORMS[name]
    for tool in tools:
        if shutil.which(tool) is None:
            yield _finding(PLATFORM.name, f"--platform {name}", f"no command {tool}", f"{tool} on PATH")
    for variable in variables:
        if not os.environ.get(variable):
            yield _finding(PLATFORM.name, f"--platform {name}", f"{variable} is not set", f"{variable}")


def _records(where: str, path: str, keys: Sequence[str]) -> tuple[Finding, ...]:
    """Read every record of an annotation file and ask for keys; what cannot be read is a finding."""
    findings = Collector(where=where, file=path)
    try:
        for index, _, _, record in iter_array(path):
            for key in keys:
                value = record.get(key) if isinstance(record, dict) else None
                if value is None or value in ("", [], {}) or (key == "video_fps" and not is_positive(value)):
                    saw = f"{key}: {quote(value)}" if isinstance(record, dict) and key in record else f"no {key!r}"
                    findings.add(FIELD, saw, "a value in every record", at=At(index, f"/{key}"))
    except InputError as error:
        text, _, want = str(error).removeprefix(f"{path}:").partition("; want ")
        return (*findings.findings(), _finding(PATH.name, where, text.strip(), want or "valid JSON"))
    return findings.findings()


def _finding(rule: str, where: str, saw: str, want: str, *, fix: str | None = None) -> Finding:
    severity: Severity = "error"
    return Finding(rule=rule, severity=severity, where=where, saw=saw, want=want, fix=Fix(text=fix) if fix else None)
