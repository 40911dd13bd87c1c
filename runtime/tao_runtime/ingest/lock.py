"""The lock file of the hub: which commit of a repository was fetched, and the files it had; later fetches obey it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from tao_runtime.data.access import Locked
from tao_runtime.data.hub import HubFile
from tao_runtime.data.paths import exists
from tao_runtime.errors import Frozen, InputError
from tao_runtime.ingest.write import write_atomically

NAME = "hub.lock.json"


class LockedFile(Frozen):
    """A file, and its size."""

    name: str
    size: int | None = Field(default=None, ge=0, description="bytes; null: the hub did not say")


class LockedRepo(Frozen):
    """A repository at a commit."""

    kind: Literal["model", "dataset"]
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="commit")
    files: tuple[LockedFile, ...] = Field(description="those that were wanted of it")


class HubLock(Frozen):
    """What a fetch brought."""

    schema_version: Literal["tao-run/hub-lock/1"] = Field(default="tao-run/hub-lock/1", alias="schema")
    repos: dict[str, LockedRepo] = Field(default_factory=dict)

    def as_locked(self) -> Locked:
        return {
            repo: (entry.revision, tuple(HubFile(file.name, file.size) for file in entry.files))
            for repo, entry in self.repos.items()
        }


def read_lock(path: Path) -> HubLock:
    """Read a lock file; an empty one if there is none. Raises InputError if it is not one."""
    if not exists(path):
        return HubLock()
    try:
        return HubLock.model_validate_json(path.read_bytes())
    except (ValidationError, OSError) as error:
        saw = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise InputError(f"{path}: {saw}; want a lock file as a fetch writes it, or none") from None


def add_to_lock(path: Path, repos: Mapping[str, LockedRepo]) -> None:
    """Add repositories and files to a lock file; a commit that is in it stays, whatever it is."""
    known = read_lock(path).repos
    lock = HubLock(repos={**known, **{repo: _joined(known.get(repo), entry) for repo, entry in repos.items()}})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (lock.model_dump_json(by_alias=True, indent=1) + "\n").encode())


def _joined(known: LockedRepo | None, entry: LockedRepo) -> LockedRepo:
    """Return an entry with the files of both, where they are of one commit: another recipe may want others of it."""
    if known is None or known.revision != entry.revision:
        return known or entry
    files = {file.name: file for file in (*known.files, *entry.files)}
    return known.model_copy(update={"files": tuple(files.values())})
