"""What COMMIT says of a checkpoint, and whether the files beside it are as they were committed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydantic import Field

from tao_runtime.errors import Frozen

COMMIT = "COMMIT"
POINTER = "latest_checkpoint.txt"
NAME = re.compile(r"^iter_(\d{9})$")
SAVING = ".saving-"


class Commit(Frozen):
    """What COMMIT says."""

    schema_version: str = Field(default="tao-run/commit/1", alias="schema")
    step: int = Field(description="optimizer steps done")
    world_size: int
    identity: str = Field(description="hash of what a resumed run must share: model, data, batch, optimizer, seed")
    spec_sha256: str
    metrics: dict[str, float] = Field(default_factory=dict)
    files: dict[str, int] = Field(description="bytes of every file")
    hashes: dict[str, str] = Field(default_factory=dict, description="sha256 of every file")
    parts: dict[str, str] = Field(default_factory=dict, description="what `identity` is made of, hashed one by one")
    version: str = Field(default="", description="of this package, when it was saved")


def damage(directory: Path, commit: Commit, *, hashes: bool = False) -> list[str]:
    """Return what is wrong with a committed checkpoint's files: missing, of another size, or with another content.

    Sizes cost nothing. Hashes cost a reading of every byte: once per launch, by the launcher, not by every rank.
    """
    problems, sound = [], []
    for name, size in commit.files.items():
        path = directory / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif path.stat().st_size != size:
            problems.append(f"{name}: {path.stat().st_size} bytes, committed with {size}")
        else:
            sound.append(name)
    if hashes:
        found = hash_files(directory, [name for name in sound if name in commit.hashes])
        problems += [
            f"{name}: sha256 {digest[:12]}, committed with {commit.hashes[name][:12]}"
            for name, digest in found.items()
            if digest != commit.hashes[name]
        ]
    return problems


def hash_files(directory: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of files by their names relative to a directory. Hashing runs beside Python, in 4 threads."""
    names = sorted(names)
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(names, pool.map(lambda name: _sha256(directory / name), names), strict=True))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
