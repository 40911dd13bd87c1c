"""The hub as seen from here: its address, the token, what a repository holds, and whether its files may be read.

Asked with urllib and the hub's own endpoints, so that a check needs nothing that is not on the dry side, and says the
same whether or not the hub's library is installed.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, Literal

from tao_runtime.data.snapshot import TOKEN_VARIABLES, hub_home
from tao_runtime.data.web import FetchError, get
from tao_runtime.spec.hub_asset import HubAsset, Kind

DEFAULT_ENDPOINT: Final = "https://huggingface.co"
MAX_LISTING: Final = 64 << 20  # bytes of the answer about a repository
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_PREFIX: Final = "hf_"
_WEIGHTS: Final = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")

Access = Literal["open", "no-token", "bad-token", "licence", "missing", "no-revision", "unreachable", "malformed"]


@dataclass(frozen=True, slots=True)
class Token:
    """What can be said of a token without saying it."""

    place: str | None  # the variable or file it is in; None: there is none
    problem: str | None = None  # why it cannot be a token


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository."""

    name: str
    size: int | None  # bytes; None: the hub does not say


@dataclass(frozen=True, slots=True)
class RepoState:
    """A repository as the hub answers for it."""

    access: Access
    commit: str | None = None
    gated: bool = False
    files: tuple[HubFile, ...] = ()  # all of the repository
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Hub:
    """Where to ask, and how long to wait for each answer."""

    address: str = field(default_factory=lambda: endpoint())
    timeout_s: float = 10.0

    def page(self, asset: HubAsset) -> str:
        return f"{self.address}/{asset.page}"


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def look_at_token() -> Token:
    """Say where a token is and what is wrong with its form. It is never part of what is returned."""
    place, value = _token()
    if place is None:
        return Token(None)
    if not value.strip():
        return Token(place, "empty")
    if value != value.strip() or any(letter.isspace() for letter in value):
        return Token(place, "has white space in it or around it")
    if value[0] in "\"'":
        return Token(place, "is in quotes")
    if not value.isascii() or not value.isprintable():
        return Token(place, "has characters that no token has")
    if not value.startswith(_PREFIX) and endpoint() == DEFAULT_ENDPOINT:
        return Token(place, f"does not start with {_PREFIX}")
    return Token(place)


def _token() -> tuple[str | None, str]:
    for name in TOKEN_VARIABLES:
        if os.environ.get(name):
            return name, os.environ[name]
    file = Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token")
    try:
        return str(file), file.read_text(encoding="utf-8").rstrip("\r\n")  # editors and the hub's login end the line
    except UnicodeDecodeError:
        return str(file), "\0"
    except OSError:
        return None, ""


def _headers() -> dict[str, str]:
    """The token as a header: only if it can be one."""
    found = look_at_token()
    return {"Authorization": f"Bearer {_token()[1]}"} if found.place is not None and found.problem is None else {}


def look_at_repo(hub: Hub, repo: str, kind: Kind = "model", revision: str | None = None) -> RepoState:
    """Ask what a repository holds at a revision, and whether its files may be read. Never raises for the answer."""
    base = f"{hub.address}/api/{kind}s/{repo}"
    try:
        about = _json(f"{base}/revision/{revision or 'main'}?blobs=true", hub)
    except FetchError as error:
        return _refused(error)
    commit, listed = about.get("sha"), about.get("siblings")
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit) or not isinstance(listed, list):
        return RepoState("malformed", detail="an answer without a commit and its files")
    files = tuple(_file(item) for item in listed if isinstance(item, dict) and isinstance(item.get("rfilename"), str))
    gated = bool(about.get("gated")) or bool(about.get("private"))
    # What a gated repository holds may be listed by all; only its files are locked.
    if gated:
        try:
            with get(f"{base}/auth-check", timeout_s=hub.timeout_s, headers=_headers()) as answer:
                list(answer.chunks)
        except FetchError as error:
            state = _refused(error)
            return RepoState(state.access, commit, gated, files, state.detail)
    return RepoState("open", commit, gated, files)


def _json(url: str, hub: Hub) -> dict[str, object]:
    """Return the object at an address. Raises FetchError."""
    data = bytearray()
    with get(url, timeout_s=hub.timeout_s, headers=_headers()) as answer:
        for piece in answer.chunks:
            data += piece
            if len(data) > MAX_LISTING:
                raise FetchError("an answer without end")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise FetchError("an answer that is not JSON") from None
    if not isinstance(value, dict):
        raise FetchError("an answer that is not an object")
    return value


def _file(item: dict[str, object]) -> HubFile:
    size = item.get("size")
    return HubFile(str(item["rfilename"]), size if type(size) is int else None)


def _refused(error: FetchError) -> RepoState:
    """Say what a refusal means. The hub answers 401 for what does not exist, to those it does not know."""
    headers = {name.lower(): value for name, value in error.headers.items()}
    code, message = headers.get("x-error-code", ""), headers.get("x-error-message", "")
    sent = bool(_headers())
    if error.status == 401:
        access: Access = "bad-token" if sent else "no-token"
        hidden = code == "RepoNotFound" and not sent
        return RepoState(access, gated=not hidden, detail="private, or it does not exist" if hidden else "")
    if error.status == 403:
        return RepoState("licence" if code in {"GatedRepo", ""} else "bad-token", gated=True, detail=message[:200])
    if error.status == 404:
        return RepoState("no-revision" if code == "RevisionNotFound" else "missing")
    if error.status is not None:
        return RepoState("unreachable", detail=error.reason)
    return RepoState("malformed" if error.reason.startswith("an answer") else "unreachable", detail=error.reason)


def chosen_files(asset: HubAsset, files: tuple[HubFile, ...]) -> tuple[HubFile, ...]:
    """Return the files that an asset needs, of all that its repository holds.

    Weights in pickles are taken only where a snapshot has no others: transformers reads those without running them.
    """
    chosen = [file for file in files if wanted(asset, file.name)]
    snapshot = asset.kind == "model" and "*.safetensors" in asset.files
    if snapshot and not any(file.name.endswith(_WEIGHTS) for file in chosen):
        chosen += [file for file in files if fnmatch(file.name, "pytorch_model*.bin*") and file not in chosen]
    return tuple(chosen)


def wanted(asset: HubAsset, name: str) -> bool:
    """Whether a file of a repository is one that the asset needs."""
    return not asset.files or any(fnmatch(name, pattern) for pattern in asset.files)
