"""Commits on disk: a checkpoint exists if and only if its COMMIT file does. No torch here.

A save goes to a temporary name, is synced, gets its COMMIT, and is renamed; the pointer file is a convenience.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from pydantic import Field, ValidationError

from tao_runtime.errors import Frozen, InputError

COMMIT = "COMMIT"
POINTER = "latest_checkpoint.txt"
NAME = re.compile(r"^iter_(\d{9})$")


class Commit(Frozen):
    """What COMMIT says."""

    schema_version: str = Field(default="tao-run/commit/1", alias="schema")
    step: int = Field(description="optimizer steps done")
    world_size: int
    identity: str = Field(description="hash of what a resumed run must share: model, data, batch, optimizer, seed")
    spec_sha256: str
    metrics: dict[str, float] = Field(default_factory=dict)
    files: dict[str, int] = Field(description="bytes of every file")


def commit_name(step: int) -> str:
    return f"iter_{step:09d}"


def list_commits(root: Path) -> list[tuple[Path, Commit]]:
    """Return the committed checkpoints under `root`, oldest first. COMMIT is the truth, names and pointer are not.

    Raises:
        InputError: a COMMIT is not one of ours.
    """
    return [
        (directory, _read_commit(directory / COMMIT))
        for directory in sorted(root.glob("iter_*"))
        if NAME.match(directory.name) and (directory / COMMIT).is_file()
    ]


def _read_commit(path: Path) -> Commit:
    try:
        return Commit.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{path}: {error.error_count()} problems, the first: {error.errors()[0]['msg']}; want a COMMIT as it was "
            "written. Fix: restore it, or move its directory away to resume from an older one"
        ) from error


def damage(directory: Path, commit: Commit) -> list[str]:
    """Return what is wrong with a committed checkpoint's files: missing, or of another size."""
    problems = []
    for name, size in commit.files.items():
        path = directory / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif path.stat().st_size != size:
            problems.append(f"{name}: {path.stat().st_size} bytes, committed with {size}")
    return problems


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all, and durably."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in a directory durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(temporary: Path, final: Path, commit: Commit) -> None:
    """Turn a complete save into a commit: COMMIT, rename, pointer."""
    files = {
        str(path.relative_to(temporary)): path.stat().st_size for path in sorted(temporary.rglob("*")) if path.is_file()
    }
    commit = commit.model_copy(update={"files": files})
    write_atomically(temporary / COMMIT, commit.model_dump_json(by_alias=True, indent=1))
    if final.exists():  # an older attempt at this step that was never committed
        shutil.rmtree(final)
    temporary.rename(final)
    sync_directory(final.parent)
    write_atomically(final.parent / POINTER, final.name + "\n")


def prune(root: Path, max_keep: int) -> list[str]:
    """Remove the oldest commits beyond `max_keep` (-1: none), and half-written saves older than the newest commit."""
    commits = list_commits(root)
    if not commits:
        return []
    newest = commits[-1][0]
    old = [path for path, _ in commits[:-max_keep]] if max_keep > 0 else []
    old += [path for path in root.glob(".saving-*") if path.stat().st_mtime < (newest / COMMIT).stat().st_mtime]
    for path in old:
        shutil.rmtree(path)
    return [path.name for path in old]


def read_json(path: Path) -> dict[str, object]:
    """Read a small JSON object of ours."""
    value = json.loads(path.read_text())
    assert isinstance(value, dict)
    return value
