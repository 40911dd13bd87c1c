"""Commits on disk: a checkpoint exists if and only if its COMMIT file does. No torch here.

A save goes to a temporary name, is synced, gets its COMMIT, and is renamed; the pointer file is a convenience.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from pydantic import ValidationError

from tao_runtime.data.commit import COMMIT, NAME, POINTER, SAVING, Commit, damage, hash_files
from tao_runtime.errors import InputError

__all__ = [  # what a commit says is on the floor of facts: the auditor reads it without an engine
    "COMMIT",
    "NAME",
    "POINTER",
    "SAVING",
    "Commit",
    "commit_name",
    "damage",
    "file_names",
    "hash_files",
    "list_commits",
    "list_uncommitted",
    "prune",
    "read_json",
    "seal",
    "sync_directory",
    "write_atomically",
]


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


def list_uncommitted(root: Path) -> list[str]:
    """Return the names of what a save that died has left under `root`. Such directories never count."""
    names = [path.name for path in root.glob("iter_*") if path.is_dir() and not (path / COMMIT).is_file()]
    return sorted([*names, *(path.name for path in root.glob(f"{SAVING}*"))])


def file_names(directory: Path) -> list[str]:
    """Return the names of all files under a directory, relative to it."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


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
    """Turn a complete save into a commit: sizes and hashes, COMMIT, rename, pointer.

    `commit.hashes` may hold what other processes hashed already; the rest is hashed here.
    """
    names = file_names(temporary)
    known = {name: commit.hashes[name] for name in names if name in commit.hashes}
    hashes = {**known, **hash_files(temporary, set(names) - set(known))}
    sizes = {name: (temporary / name).stat().st_size for name in names}
    commit = commit.model_copy(update={"files": sizes, "hashes": hashes})
    for directory in [path for path in temporary.rglob("*") if path.is_dir()]:
        sync_directory(directory)
    write_atomically(temporary / COMMIT, commit.model_dump_json(by_alias=True, indent=1))
    if (final / COMMIT).is_file():  # the same step of the same run: what is committed stays
        shutil.rmtree(temporary)
        return
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
    old += [path for path in root.glob(f"{SAVING}*") if path.stat().st_mtime < (newest / COMMIT).stat().st_mtime]
    for path in old:
        shutil.rmtree(path)
    return [path.name for path in old]


def read_json(path: Path) -> dict[str, object]:
    """Read a small JSON object of ours."""
    value = json.loads(path.read_text())
    assert isinstance(value, dict)
    return value
