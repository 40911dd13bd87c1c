"""Access: may everything that a spec needs of the hub be had? Pure: from what was seen to a line each, and findings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from pydantic import Field

from tao_runtime.data.access import AccessFacts, Seen
from tao_runtime.data.access_rules import RULES
from tao_runtime.data.hub import Hub, RepoState
from tao_runtime.errors import ExitCode, Finding, Fix, Frozen
from tao_runtime.spec.hub_asset import HubAsset

TOKENS: Final = "settings/tokens"  # page of the hub
_TAKE: Final = "fetch it where there is a network (tao-run prepare fetch), and take the cache along"
_READ: Final = "make one with read access at {page}, and export it as HF_TOKEN"

Here = Literal["local", "cached", "partly", "no", "unknown"]


class AssetLine(Frozen):
    """One thing that the spec needs."""

    role: str
    key: str | None = Field(description="the spec key that names it; null: a library fetches it without any key")
    path: str | None = Field(description="as the spec has it")
    repo: str | None = Field(description="null: nothing says where on the hub it is")
    kind: Literal["model", "dataset"] | None = None
    revision: str | None = Field(default=None, description="the commit, where it is known")
    here: Here = Field(description="local: at its path; cached: whole in the hub's cache; partly: files are missing")
    proven: bool = Field(default=False, description="compared with the hub's or a lock file's names and sizes")
    gated: bool | None = Field(default=None, description="null: not asked")
    access: str | None = Field(default=None, description="the hub's answer; null: not asked")
    bytes: int | None = Field(default=None, description="of all its files; null: not known")
    bytes_to_fetch: int | None = None
    note: str | None = None


class AccessReport(Frozen):
    """Everything that a spec needs of the hub, and what stands in the way."""

    schema_version: Literal["tao-run/access/1"] = Field(default="tao-run/access/1", alias="schema")
    ok: bool = Field(description="no finding of severity error")
    action: str
    family: str
    endpoint: str
    offline: bool
    token: str | None = Field(description="where a token is; never its value. null: there is none")
    assets: tuple[AssetLine, ...]
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.DONE if self.ok else ExitCode.FINDINGS


def judge_access(facts: AccessFacts, *, family: str, action: str) -> AccessReport:
    """Judge what was seen."""
    lines = tuple(_line(one) for one in facts.seen)
    findings = [*_token(facts), *(found for one in facts.seen for found in _findings(one, facts))]
    return AccessReport(
        ok=all(finding.severity != "error" for finding in findings),
        action=action,
        family=family,
        endpoint=facts.hub.address,
        offline=facts.offline,
        token=facts.token.place,
        assets=lines,
        findings=tuple(findings),
    )


def _line(one: Seen) -> AssetLine:
    need, asset, cached, state = one.need, one.need.asset, one.cached, one.state
    here: Here = "local" if need.local else "unknown" if cached is None else "no"
    if cached is not None and cached.directory is not None:
        here = "cached" if cached.whole else "partly" if cached.present else "no"
    return AssetLine(
        role=need.role,
        key=need.key or None,
        path=need.path or None,
        repo=asset.repo if asset else None,
        kind=asset.kind if asset else None,
        revision=(state.commit if state else None) or (cached.commit if cached else None),
        here=here,
        proven=cached.proven if cached else False,
        gated=state.gated if state and state.access != "unreachable" else None,
        access=state.access if state else None,
        bytes=one.num_bytes,
        bytes_to_fetch=one.bytes_missing,
        note=(asset.note or None) if asset and not need.local else None,
    )


def _finding(rule: str, where: str, *text: str) -> Finding:
    saw, want, fix = text
    info = RULES[rule]
    return Finding(rule=info.name, severity=info.severity, where=where, saw=saw, want=want, fix=Fix(text=fix))


def _token(facts: AccessFacts) -> Iterator[Finding]:
    """A token that cannot be one is a fault even where nothing needs it: the hub refuses public files with it too."""
    token = facts.token
    if token.place is not None and token.problem is not None and not facts.offline:
        fix = _READ.format(page=f"{facts.hub.address}/{TOKENS}")
        yield _finding("token-malformed", token.place, f"a token that {token.problem}" if " " in token.problem
                       else token.problem, "a token as the hub gave it", fix)  # fmt: skip


def _findings(one: Seen, facts: AccessFacts) -> Iterator[Finding]:
    need, asset = one.need, one.need.asset
    if need.local:
        return
    where = need.key or need.role
    if asset is None:
        if need.path:
            yield _finding("unknown", where, f"{need.path} is not here, and nothing says where it is from",
                           "a path that exists, or org/name on the hub", "check the path")  # fmt: skip
        return
    if one.cached is not None and one.cached.whole:
        return
    if facts.offline:
        lost = one.cached.missing if one.cached else ()
        saw = f"{asset.repo} is not in the cache" if one.cached is None or one.cached.directory is None else ""
        saw = saw or f"{asset.repo} in the cache lacks {', '.join(lost[:4])}{', ...' if len(lost) > 4 else ''}"
        yield _finding("offline", where, saw, "all of it on this machine",
                       _TAKE)  # fmt: skip
        return
    assert one.state is not None
    yield from judge_answer(asset, one.state, facts.hub, where=where, asked=one.cached.commit if one.cached else None)


def judge_answer(
    asset: HubAsset, state: RepoState, hub: Hub, *, where: str, asked: str | None = None
) -> Iterator[Finding]:
    """What an answer of the hub asks the user to do; nothing where it gives the files. `asked`: the revision."""
    repo, page, tokens = asset.repo, hub.page(asset), f"{hub.address}/{TOKENS}"
    told = f": {state.detail}" if state.detail else ""
    if state.access == "licence":
        saw = f"{repo}: the hub knows the token, and does not give the files (403){told}"
        fix = f"accept it at {page}; a token of limited scope also needs read access to gated repositories"
        yield _finding("licence", where, saw, "its licence accepted by the token's account", fix)
    elif state.access == "no-token":
        what = (
            "private, or does not exist (401: the hub does not say which)"
            if told
            else "gated (401), and no token is sent"
        )
        fix = f"accept its licence at {page}, then " + _READ.format(page=tokens)
        yield _finding("token-missing", where, f"{repo} is {what}", "a token that may read it", fix)
    elif state.access == "bad-token":
        saw = f"{repo}: the hub does not take the token (401){told}"
        yield _finding("token-refused", where, saw, "a token that is valid", _READ.format(page=tokens))
    elif state.access in {"missing", "no-revision"}:
        what = f"has no revision {asked or 'main'}" if state.access == "no-revision" else "does not exist (404)"
        yield _finding("not-found", where, f"{repo} {what} at {hub.address}", "a repository that does",
                       "check its name; private ones exist only for their owners' tokens")  # fmt: skip
    elif state.access in {"unreachable", "malformed"}:
        yield _finding("unreachable", where, f"{hub.address} for {repo}: {state.detail}", "an answer",
                       "check network, proxy and HF_ENDPOINT; with everything fetched, use --offline")  # fmt: skip
