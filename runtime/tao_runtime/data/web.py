"""One request with a time limit on the whole of it, and the reasons for which one fails, in few words.

urllib: the dry side has no HTTP library, and what is asked is a few GETs.
"""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any, Final
from urllib.parse import urlsplit

CHUNK: Final = 1 << 16
AGENT: Final = "tao-run"


class FetchError(Exception):
    """A request that did not give what it was asked for. `reason`: one of few, to be counted."""

    def __init__(self, reason: str, *, status: int | None = None, headers: Mapping[str, str] | None = None) -> None:
        self.reason, self.status, self.headers = reason, status, headers or {}
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, not yet read."""

    headers: Message
    chunks: Iterator[bytes]


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but give the token only to the host it is meant for."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            new.remove_header("Authorization")
        if new is not None and urlsplit(newurl).scheme not in {"http", "https"}:
            raise FetchError("redirected away from http")
        return new


_OPENER: Final = urllib.request.build_opener(_SameHost())


@contextmanager
def get(url: str, *, timeout_s: float, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
    """Ask for a URL; its body must be read inside, and within the time. Raises FetchError."""
    end = time.monotonic() + timeout_s
    if urlsplit(url).scheme not in {"http", "https"}:
        raise FetchError("not an http address")
    request = urllib.request.Request(url, headers={"User-Agent": AGENT, **(headers or {})})
    try:
        with _OPENER.open(request, timeout=timeout_s) as response:
            yield Answer(response.headers, _chunks(response, end, timeout_s))
    except urllib.error.HTTPError as error:
        with error:
            raise FetchError(f"HTTP {error.code}", status=error.code, headers=dict(error.headers)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(_reason(error, timeout_s)) from None


def _chunks(response: Any, end: float, timeout_s: float) -> Iterator[bytes]:
    """Yield what arrives. The limit is on all of it: a server that sends a byte now and then does not hold us."""
    wanted, seen = response.headers.get("Content-Length"), 0
    while True:
        if time.monotonic() > end:
            raise FetchError(f"no end after {timeout_s:g} s")
        piece = response.read1(CHUNK)
        if not piece:
            break
        seen += len(piece)
        yield piece
    if wanted is not None and wanted.isdigit() and seen < int(wanted):
        raise FetchError("broke off")


def _reason(error: Exception, timeout_s: float) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, socket.gaierror):
        return "host name does not resolve"
    if isinstance(cause, http.client.IncompleteRead | ConnectionError):
        return "broke off"
    return f"{type(cause).__name__}"
