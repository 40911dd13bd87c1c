"""A hub in a thread: real HTTP on a local port, with the answers, headers and refusals of the public one."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

GOOD, STRANGER = "hf_" + "g" * 34, "hf_" + "s" * 34  # a token with every licence, and one with none
COMMIT = "1" * 40


@dataclass
class Repo:
    """A repository at one commit."""

    files: Mapping[str, bytes]
    gated: bool = False
    private: bool = False
    commit: str = COMMIT
    kind: str = "model"


@dataclass
class FakeHub:
    """What the hub holds, and what it was asked."""

    repos: dict[str, Repo] = field(default_factory=dict)
    plain: dict[str, bytes] = field(default_factory=dict)  # other addresses, as a web server has them
    hang: set[str] = field(default_factory=set)  # repositories and addresses that never answer
    drip: set[str] = field(default_factory=set)  # addresses that send a byte now and then
    asked: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    address: str = ""
    released: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def _paths(self) -> list[str] | None:
        """Return the paths that are asked about; None: all of a folder."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not body:
            return None
        if self.headers.get("Content-Type", "").startswith("application/json"):
            return list(json.loads(body)["paths"])
        return parse_qs(body.decode()).get("paths", [])

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.hub.asked.append(f"{self.command} /{path}")
        self.hub.tokens.append(self.headers.get("Authorization"))
        if any(name in path for name in self.hub.hang):
            self.hub.released.wait(20)
            return
        if path in self.hub.plain:
            self._plain(path)
        elif path.startswith("api/"):
            self._api(path.split("/")[1:])
        elif "/resolve/" in path:
            self._file(path)
        else:
            self._send(404, b"nothing here")

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _plain(self, path: str) -> None:
        body = self.hub.plain[path]
        if path not in self.hub.drip:
            return self._send(200, body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for number in range(len(body)):
            if self.hub.released.wait(0.1):
                return None
            self.wfile.write(body[number : number + 1])
        return None

    def _refusal(self, name: str, kind: str) -> tuple[int, str] | None:
        """Return (status, code) where this caller gets nothing of a repository's files."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        repo = self.hub.repos.get(name)
        if token and token not in {GOOD, STRANGER}:
            return 401, ""
        if repo is None or repo.kind != kind or (repo.private and token != GOOD):
            return (404 if token else 401), "RepoNotFound"
        if repo.gated and token != GOOD:
            return (403 if token else 401), "GatedRepo"
        return None

    def _api(self, parts: list[str]) -> None:
        kind, name = parts[0].removesuffix("s"), "/".join(parts[1:3])
        refused = self._refusal(name, kind)
        if parts[3:] == ["auth-check"]:
            return self._send(200, b"{}") if refused is None else self._refuse(refused)
        if refused is not None and refused[1] != "GatedRepo":  # what a gated repository holds is listed to all
            return self._refuse(refused)
        repo = self.hub.repos[name]
        revision = parts[4] if len(parts) > 4 else "main"
        if revision not in {"main", repo.commit}:
            return self._send(404, b"", X_Error_Code="RevisionNotFound")
        if parts[3:4] in (["tree"], ["paths-info"]):
            entries = list(_entries(repo, "/".join(parts[5:]), self._paths()))
            return self._send(200, json.dumps(entries).encode(), Content_Type="application/json")
        siblings = [{"rfilename": file, "size": len(data)} for file, data in repo.files.items()]
        body = {"id": name, "sha": repo.commit, "gated": "auto" if repo.gated else False, "siblings": siblings}
        return self._send(200, json.dumps(body | {"private": repo.private}).encode(), Content_Type="application/json")

    def _file(self, path: str) -> None:
        before, _, after = path.partition("/resolve/")
        kind = "dataset" if before.startswith("datasets/") else "model"
        name, (revision, _, file) = before.removeprefix("datasets/"), after.partition("/")
        refused = self._refusal(name, kind)
        if refused is not None:
            return self._refuse(refused)
        repo = self.hub.repos[name]
        if revision not in {"main", repo.commit} or file not in repo.files:
            return self._send(404, b"", X_Error_Code="EntryNotFound")
        data = repo.files[file]
        digest = hashlib.sha256(data).hexdigest()
        first, _, last = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)), len(data) - 1)
        headers = {"ETag": f'"{digest}"', "X_Repo_Commit": repo.commit, "Accept_Ranges": "bytes"}
        if "Range" in self.headers:
            headers["Content_Range"] = f"bytes {start}-{end}/{len(data)}"
        return self._send(206 if "Range" in self.headers else 200, data[start : end + 1], **headers)

    def _refuse(self, refused: tuple[int, str]) -> None:
        status, code = refused
        message = {"GatedRepo": "Access is restricted.", "": "Invalid credentials in Authorization header"}
        headers = {"X_Error_Code": code} if code else {}
        self._send(status, b"", X_Error_Message=message.get(code, "Repository not found"), **headers)


def _entries(repo: Repo, folder: str, paths: list[str] | None) -> Iterator[dict[str, Any]]:
    """Yield what the hub tells of files and folders: those in a folder, or those that are asked about."""
    inside = [name for name in repo.files if not folder or name.startswith(f"{folder}/")]
    for name in inside if paths is None else [path for path in paths if path in repo.files]:
        oid = hashlib.sha1(repo.files[name]).hexdigest()
        yield {"type": "file", "path": name, "size": len(repo.files[name]), "oid": oid}
    for path in paths or ():
        if any(name.startswith(f"{path}/") for name in repo.files):
            yield {"type": "directory", "path": path, "oid": "0" * 40}


@contextmanager
def serve(hub: FakeHub) -> Iterator[FakeHub]:
    """Run a hub until the end of the block; its address is in it."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
