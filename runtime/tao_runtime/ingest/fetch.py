"""Fetching what a spec needs of the hub: planned first, in bytes; then at pinned or locked commits, with resumption."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from tao_runtime.data.access import AccessFacts, Need, Seen
from tao_runtime.data.host import existing_parent
from tao_runtime.data.hub import Hub, HubFile
from tao_runtime.data.hub_cache import look_in_cache, repo_folder
from tao_runtime.data.snapshot import hub_cache
from tao_runtime.errors import ExitCode, Finding, Fix, Frozen, RunError
from tao_runtime.ingest.lock import HubLock, LockedFile, LockedRepo
from tao_runtime.ingest.write import write_atomically
from tao_runtime.preflight.access import judge_access
from tao_runtime.spec.hub_asset import PIPELINE, HubAsset, Kind

SPARE: Final = 1 << 30  # bytes that stay free on the disk

Progress = Callable[[int, int], None]  # bytes of bytes


class FetchItem(Frozen):
    """One repository that is fetched."""

    repo: str
    kind: Kind
    revision: str = Field(description="commit")
    pinned_by: Literal["lock", "family", "hub"] = Field(description="hub: what its main branch is today")
    files: tuple[LockedFile, ...]
    present: int = Field(description="files that are here already")
    bytes: int | None = Field(description="of all its files; null: the hub does not say")
    bytes_to_fetch: int | None
    left: bool = Field(default=False, description="not fetched by this command: see its note")
    note: str | None = None


class FetchPlan(Frozen):
    """What a fetch would bring, or brought."""

    schema_version: Literal["tao-run/fetch/1"] = Field(default="tao-run/fetch/1", alias="schema")
    ok: bool
    done: bool = Field(default=False, description="all files are here")
    items: tuple[FetchItem, ...]
    bytes_to_fetch: int = Field(description="of the files whose sizes are known")
    free_disk_bytes: int
    target: str = Field(description="the hub's cache, or the folder of --out")
    overrides: tuple[str, ...] = Field(default=(), description="key=value that make the spec use what was fetched")
    findings: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.FINDINGS


@dataclass(frozen=True, slots=True)
class Target:
    """Where files are put: the hub's cache, or a folder."""

    out: Path | None

    @property
    def root(self) -> Path:
        return self.out or hub_cache()

    def folder(self, repo: str) -> Path | None:
        return self.out / repo if self.out else None

    def place(self, asset: HubAsset, commit: str) -> Path | None:
        """Return where an asset's files are."""
        return self.folder(asset.repo) or look_in_cache(asset, commit=commit).directory

    def lost(self, asset: HubAsset, commit: str, files: tuple[HubFile, ...]) -> set[str]:
        """Return the names of files that are not here whole."""
        folder = self.folder(asset.repo)
        if folder is None:
            return set(look_in_cache(asset, commit=commit, files=files).missing) if files else set()
        return {file.name for file in files if not _whole(folder / file.name, file.size)}


def _whole(path: Path, size: int | None) -> bool:
    return path.is_file() and (size is None or path.stat().st_size == size)


def plan_fetch(facts: AccessFacts, lock: HubLock, *, out: Path | None, family: str, action: str) -> FetchPlan:
    """Say what would be fetched, how much that is, and what stands in the way."""
    target = Target(out)
    found = list(judge_access(facts, family=family, action=action).findings)
    items = tuple(_items(facts, lock, target))
    need = sum(item.bytes_to_fetch or 0 for item in items if not item.left)
    free = shutil.disk_usage(existing_parent(target.root)).free
    if need and need + SPARE > free:
        saw = f"{_size(need)} to fetch, {_size(free)} free at {target.root}"
        fix = Fix(text="free space, or name another disk with --out or HF_HOME")
        want = f"{_size(need + SPARE)} free"
        found.append(Finding(rule="fetch/disk", severity="error", where=str(target.root), saw=saw, want=want, fix=fix))
    found += _unlike_pins(facts, lock)
    done = all(item.left or item.bytes_to_fetch == 0 or item.present == len(item.files) for item in items)
    return FetchPlan(
        ok=all(finding.severity != "error" for finding in found),
        done=done and bool(items),
        items=items,
        bytes_to_fetch=need,
        free_disk_bytes=free,
        target=str(target.root),
        overrides=tuple(_overrides(facts, items, target)) if done else (),
        findings=tuple(found),
    )


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.2f} MiB"


def _items(facts: AccessFacts, lock: HubLock, target: Target) -> Iterator[FetchItem]:
    """Yield each repository once, with the files that any need has of it."""
    by_repo: dict[str, list[Seen]] = {}
    for one in facts.seen:
        if one.need.asset is not None and one.files and _commit(one):
            by_repo.setdefault(one.need.asset.repo, []).append(one)
    for repo, several in by_repo.items():
        asset, commit = several[0].need.asset, _commit(several[0])
        assert asset is not None and commit is not None
        files = tuple({file.name: file for one in several for file in one.files}.values())
        lost = target.lost(asset, commit, files)
        sizes = [file.size for file in files]
        open_sizes = [file.size for file in files if file.name in lost]
        yield FetchItem(
            repo=repo,
            kind=asset.kind,
            revision=commit,
            pinned_by="lock" if repo in lock.repos else "family" if asset.revision else "hub",
            files=tuple(LockedFile(name=file.name, size=file.size) for file in files),
            present=len(files) - len(lost),
            bytes=None if None in sizes else sum(size or 0 for size in sizes),
            bytes_to_fetch=None if None in open_sizes else sum(size or 0 for size in open_sizes),
            left=not asset.fetched,
            note=asset.note or None,
        )


def _commit(one: Seen) -> str | None:
    """Return the commit that a need is met at; a hub that is silent does not matter where all is in the cache."""
    if one.state is not None and one.state.commit is not None:
        return one.state.commit
    return one.cached.commit if one.cached is not None and one.cached.whole else None


def _unlike_pins(facts: AccessFacts, lock: HubLock) -> Iterator[Finding]:
    """A lock that holds another commit than the family pins is obeyed, and told."""
    for repo, asset in {one.need.asset.repo: one.need.asset for one in facts.seen if one.need.asset}.items():
        entry = lock.repos.get(repo)
        if entry is not None and asset.revision and entry.revision != asset.revision:
            saw = f"{repo} locked at {entry.revision[:12]}, pinned at {asset.revision[:12]}"
            fix = Fix(text="delete its entry to fetch the pinned commit")
            yield Finding(
                rule="fetch/lock-differs", severity="warning", where="lock", saw=saw, want="one commit", fix=fix
            )


def _overrides(facts: AccessFacts, items: tuple[FetchItem, ...], target: Target) -> Iterator[str]:
    """Yield the keys of the spec with the places where their files now are."""
    commits = {item.repo: item.revision for item in items if not item.left}
    for one in facts.seen:
        asset = one.need.asset
        if asset is None or not one.need.key or asset.repo not in commits or (asset.kind == "dataset" and asset.note):
            continue
        place = target.place(asset, commits[asset.repo])
        if place is not None:
            yield f"{one.need.key}={_inside(place, one.need, asset)}"


def _inside(place: Path, need: Need, asset: HubAsset) -> Path:
    """Return the part of a repository that a key means: the video tokenizer of a pipeline is its folder `vae`."""
    if asset.files == PIPELINE and need.role == "tokenizer":
        return place / "vae"
    return place / asset.folder if asset.folder else place


def locked_repos(plan: FetchPlan) -> dict[str, LockedRepo]:
    """Return what a lock file says of a fetch."""
    return {
        item.repo: LockedRepo(kind=item.kind, revision=item.revision, files=item.files)
        for item in plan.items
        if not item.left
    }


def fetch(plan: FetchPlan, hub: Hub, *, out: Path | None, progress: Progress | None = None) -> None:
    """Fetch what is not here. What is here stays; a file left half-way goes on where it was.

    Raises:
        RunError: the hub's library is not installed, or the hub does not give a file.
    """
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 - an extra: planning and checks do without it
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise RunError("the hub's library is not installed. Fix: pip install 'tao-run[data]'") from None
    target, done = Target(out), 0
    for item in plan.items if not plan.done else ():
        if item.left:
            continue
        folder = target.folder(item.repo)
        asset = HubAsset("", item.repo, item.kind, files=())
        lost = target.lost(asset, item.revision, tuple(HubFile(file.name, file.size) for file in item.files))
        for file in item.files:
            if file.name not in lost:
                continue
            try:
                hf_hub_download(
                    item.repo,
                    file.name,
                    repo_type=item.kind,
                    revision=item.revision,
                    endpoint=hub.address,
                    cache_dir=None if folder else hub_cache(),
                    local_dir=folder,
                )
            except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise RunError(
                    f"{item.repo}: {file.name} cannot be fetched: {reason}. What came is kept: the same command goes on"
                ) from error
            done += file.size or 0
            if progress is not None:
                progress(done, plan.bytes_to_fetch)
        if folder is None and item.pinned_by == "hub":
            _name_branch(asset, item.revision)


def _name_branch(asset: HubAsset, commit: str) -> None:
    """Write down in the cache what `main` was, as the library does: a run that names no commit finds it there."""
    path = repo_folder(asset) / "refs" / "main"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, commit.encode())
