"""What of a repository is in the hub's download cache: its snapshot, and the files that it lacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tao_runtime.data.hub import COMMIT, HubFile, chosen_files, wanted
from tao_runtime.data.snapshot import hub_cache
from tao_runtime.spec.hub_asset import HubAsset

INDEX: Final = ".index.json"


@dataclass(frozen=True, slots=True)
class Cached:
    """The snapshot of a repository in the cache."""

    directory: Path | None  # None: none of it is here
    commit: str | None
    present: tuple[str, ...]  # files that are needed and are whole
    missing: tuple[str, ...]  # files that are needed and are not, or not whole
    proven: bool = False  # compared with a list of names and sizes; else by what its own files tell

    @property
    def whole(self) -> bool:
        return self.directory is not None and not self.missing


def repo_folder(asset: HubAsset) -> Path:
    """Where the cache keeps a repository, by its documented layout."""
    return hub_cache() / f"{asset.kind}s--{asset.repo.replace('/', '--')}"


def look_in_cache(asset: HubAsset, *, commit: str | None = None, files: Sequence[HubFile] = ()) -> Cached:
    """Look for an asset at a commit; without one at its own, or at what `main` was when it was last asked.

    `files`: what the repository holds, as the hub or a lock file says; with it, names and sizes are compared.
    """
    folder = repo_folder(asset)
    revision = commit or asset.revision or "main"
    if not COMMIT.fullmatch(revision):
        pointer = folder / "refs" / revision
        revision = pointer.read_text().strip() if pointer.is_file() else revision
    directory = folder / "snapshots" / revision
    if not directory.is_dir():
        names = tuple(file.name for file in chosen_files(asset, tuple(files)))
        return Cached(None, commit, (), names or ("all of it",), bool(files))
    if files:
        needed = chosen_files(asset, tuple(files))
        lost = tuple(file.name for file in needed if not _whole(directory / file.name, file.size))
        here = tuple(file.name for file in needed if file.name not in lost)
        return Cached(directory, revision, here, lost, proven=True)
    return _by_itself(asset, directory, revision)


def _whole(path: Path, size: int | None) -> bool:
    try:
        return path.is_file() and (size is None or path.stat().st_size == size)
    except OSError:
        return False


def _by_itself(asset: HubAsset, directory: Path, commit: str) -> Cached:
    """Judge a snapshot by what is in it: dangling links, shards that an index names, patterns without a file."""
    paths = [path for path in directory.rglob("*") if path.is_symlink() or path.is_file()]
    names = [path.relative_to(directory).as_posix() for path in paths]
    kept = [(name, path) for name, path in zip(names, paths, strict=True) if wanted(asset, name)]
    lost = [name for name, path in kept if not path.is_file()]
    for name, path in kept:
        if name.endswith(INDEX) and path.is_file():
            lost += [shard for shard in _shards(path) if not (path.parent / shard).is_file()]
    lost += [pattern for pattern in _definite(asset) if not any(wanted(_only(asset, pattern), name) for name in names)]
    if not kept:
        lost.append("all of it")
    if (
        asset.kind == "model"
        and "config.json" in names
        and not any(name.endswith((".safetensors", ".bin")) for name in names)
    ):
        lost.append("weights")
    here = tuple(name for name, path in kept if path.is_file())
    return Cached(directory, commit, here, tuple(dict.fromkeys(lost)))


def _definite(asset: HubAsset) -> list[str]:
    """Patterns that name a file or a folder: something must match them. `*.txt` need not."""
    return [pattern for pattern in asset.files if not pattern.startswith("*.")]


def _only(asset: HubAsset, pattern: str) -> HubAsset:
    return HubAsset(asset.role, asset.repo, files=(pattern,))


def _shards(index: Path) -> list[str]:
    try:
        names = json.loads(index.read_bytes()).get("weight_map", {}).values()
        return sorted({str(name) for name in names})
    except (OSError, ValueError, AttributeError, RecursionError):
        return [f"{index.name} (not an index)"]
