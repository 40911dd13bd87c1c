"""What an audit was asked, and what each look at a folder gives back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tao_runtime.audit.codes import found
from tao_runtime.audit.compare import Base
from tao_runtime.audit.folder import open_folder, read_json
from tao_runtime.audit.model import CONFIG, PIPELINE
from tao_runtime.audit.report import Part
from tao_runtime.audit.values import Progress
from tao_runtime.audit.weights import read_weights
from tao_runtime.errors import Finding


@dataclass(frozen=True, slots=True)
class Request:
    """What to compare with, and how deep to look."""

    base: Base | None = None
    values: bool | None = None  # read the bytes of the weights; None: where it is cheap or a base is given
    same: tuple[str, ...] = ()  # parts that must be the base's
    other: tuple[str, ...] = ()  # parts that must not be
    progress: Progress | None = None

    def against(self, base: Base | None) -> Request:
        return replace(self, base=base)


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts and findings of some part of what is audited."""

    parts: tuple[Part, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __add__(self, other: Seen) -> Seen:
        return Seen(self.parts + other.parts, self.findings + other.findings)


def read_base(path: Path) -> tuple[Base, tuple[Finding, ...]]:
    """Read the headers of a base. One that is not whole is one finding: it is not what was to be audited."""
    folder = open_folder(path)
    config, weights = read_json(folder, CONFIG), read_weights(folder)
    base = Base(folder, config.value, weights)
    wrong = [each for each in (*folder.findings, *config.findings, *weights.findings) if each.severity == "error"]
    if not wrong and not weights.tensors and PIPELINE not in folder.files:
        return base, (found("base-unreadable", str(path), "no safetensors weights", "a whole model"),)
    return base, tuple(
        found("base-unreadable", str(path), f"{each.rule} {each.where}: {each.saw}", each.want) for each in wrong[:1]
    )
