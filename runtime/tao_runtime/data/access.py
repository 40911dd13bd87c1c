"""All that a spec needs of the hub, and what its libraries fetch in turn: where it lies, and whether it may be had."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Final

from tao_runtime.data.hub import Hub, HubFile, RepoState, Token, chosen_files, look_at_repo, look_at_token
from tao_runtime.data.hub_cache import Cached, look_in_cache
from tao_runtime.spec.base import Spec
from tao_runtime.spec.hub_asset import SNAPSHOT, HubAsset

HUB_ID: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
AT_ONCE: Final = 4

Progress = Callable[[int, int], None]
Locked = Mapping[str, tuple[str, tuple[HubFile, ...]]]  # repository -> commit and what it holds there


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a spec needs."""

    role: str
    key: str  # of the spec that names it; empty: a library asks for it
    path: str  # as the spec has it; empty: nothing names it
    asset: HubAsset | None  # None: nothing says where on the hub it is
    local: bool = False  # the path is here


@dataclass(frozen=True, slots=True)
class Seen:
    """A need, and what was seen of it."""

    need: Need
    cached: Cached | None = None  # of what has an asset and no path here
    state: RepoState | None = None  # None: the hub was not asked
    files: tuple[HubFile, ...] = ()  # those that are needed, as the hub or a lock file lists them
    num_bytes: int | None = None  # of all its files; None: not known
    bytes_missing: int | None = None


@dataclass(frozen=True, slots=True)
class AccessFacts:
    """What was seen of everything that a spec needs."""

    hub: Hub
    token: Token
    offline: bool
    seen: tuple[Seen, ...] = field(default_factory=tuple)


def needs_of(spec: Spec) -> tuple[Need, ...]:
    """Return all that a spec needs: what its keys name, and what the family says its libraries fetch."""
    named = [Need(ref.label, ref.key, ref.path, _asset(spec, ref.label, ref.path, ref.revision), _here(ref.location))
             for ref in spec.models()]  # fmt: skip
    named += [
        Need("data", ref.annotation_key, ref.annotation, _place(spec, ref.annotation), _here(ref.annotation))
        for ref in spec.datasets()
    ]
    tacit = [Need(asset.role, "", "", asset) for asset in spec.hub if spec.action in asset.actions]
    return (*named, *tacit)


def _here(path: str) -> bool:
    return bool(path) and Path(path).exists()


def _asset(spec: Spec, role: str, path: str, revision: str | None) -> HubAsset | None:
    """Return the repository of a model: the one it names, or the one that its path comes from."""
    location = path.removeprefix("hf_model://")
    known = next((asset for asset in spec.hub if asset.repo == location and asset.kind == "model"), None)
    if known is not None:
        return replace(known, revision=revision or known.revision, folder="")
    found = _place(spec, path)
    if found is not None or not HUB_ID.fullmatch(location):
        return found
    return HubAsset(role, location, revision=revision, files=SNAPSHOT)


def _place(spec: Spec, path: str) -> HubAsset | None:
    parts = PurePath(path).parts
    return next((asset for asset in spec.hub if asset.place and asset.place in parts), None)


def look_at_access(
    spec: Spec, *, hub: Hub, offline: bool = False, locked: Locked | None = None, progress: Progress | None = None
) -> AccessFacts:
    """Look for all that a spec needs: here, in the cache, and unless `offline` on the hub. Raises nothing for it."""
    needs = needs_of(spec)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seen = []
        for number, one in enumerate(pool.map(lambda need: _look(need, hub, offline, locked or {}), needs), 1):
            seen.append(one)
            if progress is not None:
                progress(number, len(needs))
    return AccessFacts(hub, look_at_token(), offline, tuple(seen))


def _look(need: Need, hub: Hub, offline: bool, locked: Locked) -> Seen:
    if need.local or need.asset is None:
        return Seen(need)
    asset = need.asset
    commit, files = locked.get(asset.repo, (asset.revision, ()))
    if offline:
        return _measured(need, look_in_cache(asset, commit=commit, files=files), None, files)
    state = look_at_repo(hub, asset.repo, asset.kind, commit)
    files = state.files or files
    return _measured(need, look_in_cache(asset, commit=state.commit or commit, files=files), state, files)


def _measured(need: Need, cached: Cached, state: RepoState | None, files: tuple[HubFile, ...]) -> Seen:
    assert need.asset is not None
    chosen = chosen_files(need.asset, files)
    sizes = {file.name: file.size for file in chosen}
    if not sizes:
        return Seen(need, cached, state)
    return Seen(need, cached, state, chosen, _sum(sizes.values()), _sum(sizes.get(name) for name in cached.missing))


def _sum(sizes: Iterable[int | None]) -> int | None:
    """Return the sum; None where one of them is not known."""
    known = list(sizes)
    numbers = [size for size in known if size is not None]
    return sum(numbers) if len(numbers) == len(known) else None
