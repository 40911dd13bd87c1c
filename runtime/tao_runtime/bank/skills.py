"""The skills of a repository, and the family each one is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tao_runtime.errors import InputError
from tao_runtime.spec.families import FAMILIES, Family


@dataclass(frozen=True, slots=True)
class Skill:
    """A directory under skills/. `directory` is relative to the repository."""

    name: str
    directory: Path
    family: Family | None  # None: a skill that no spec belongs to
    info: Mapping[str, object]


def read_skills(root: Path) -> tuple[Skill, ...]:
    """Read every skill's skill_info.yaml. Raises InputError if one cannot be read or names no family that exists."""
    folder = root / "skills"
    if not folder.is_dir():
        raise InputError(f"{root}: has no skills directory; want the root of a skill bank")
    return tuple(_read(path, root) for path in sorted(folder.iterdir()) if path.is_dir())


def _read(directory: Path, root: Path) -> Skill:
    path = directory / "references" / "skill_info.yaml"
    if not path.is_file():
        return Skill(directory.name, directory.relative_to(root), None, {})
    try:
        info = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}; want a YAML table") from None
    if not isinstance(info, dict):
        raise InputError(f"{path}: the top level is not a table; want keys like family and actions")
    name = info.get("family")
    if name is not None and name not in FAMILIES:
        raise InputError(f"{path}: family {name} does not exist; want one of {', '.join(FAMILIES)}")
    return Skill(directory.name, directory.relative_to(root), FAMILIES[name] if name else None, info)
