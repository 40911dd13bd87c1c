"""What is installed: versions by their metadata, and imports that may fail, tried in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

DISTRIBUTION: Final = "tao-run"
IMPORT_TIMEOUT_S: Final = 120
# Says what an import of torch says. The last line of stdout is JSON: libraries may print before it.
_TORCH: Final = """
import json, torch
devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
arch = sorted({"%d.%d" % torch.cuda.get_device_capability(i) for i in range(devices)})
print(); print(json.dumps([torch.version.cuda or "", devices, arch, torch.cuda.get_arch_list()]))
"""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A pin of this package, and the version that is there."""

    text: str  # as pyproject.toml has it, without its marker
    name: str
    extra: str  # '' for what every installation needs
    version: str | None


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """What torch says of itself, asked in another process."""

    cuda: str  # that it was built with; '': a CPU build
    num_devices: int
    capabilities: tuple[str, ...]  # of the devices, for example 9.0
    built_for: tuple[str, ...]  # sm_90 and the like


def version_of(name: str) -> str | None:
    """Return the installed version of a distribution, None if it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def requirements() -> tuple[Requirement, ...] | None:
    """Return the pins of this package's own metadata; None where it runs from a folder and is not installed."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    found = []
    for line in lines:
        text, _, marker = line.partition(";")
        name = text
        for sign in "[<>=!~ ":
            name = name.split(sign)[0]
        _, _, extra = marker.partition("extra == ")
        found.append(Requirement(text.strip(), name, extra.strip(" \"'"), version_of(name)))
    return tuple(found)


def try_import(module: str) -> str | None:
    """Import a module in another process; returns why it fails, None if it does not."""
    done = _python(f"import {module}")
    return None if done.returncode == 0 else _last_line(done.stderr) or f"exit code {done.returncode}"


def ask_torch() -> TorchFacts | str:
    """Return what torch says of itself, or why it cannot be imported."""
    done = _python(_TORCH)
    if done.returncode:
        return _last_line(done.stderr) or f"exit code {done.returncode}"
    cuda, devices, capabilities, built_for = json.loads(done.stdout.splitlines()[-1])
    return TorchFacts(cuda, devices, tuple(capabilities), tuple(built_for))


def _python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"not imported after {IMPORT_TIMEOUT_S} s")


def _last_line(text: str) -> str:
    return ([line for line in text.splitlines() if line.strip()] or [""])[-1].strip()[:200]


def installed(names: tuple[str, ...]) -> Mapping[str, str]:
    """Return the versions of those distributions that are there."""
    return {name: version for name in names if (version := version_of(name)) is not None}
