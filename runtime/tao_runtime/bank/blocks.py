"""Marked blocks in hand-written pages, filled from the specs: `<!-- tao-run:begin NAME ARG --><!-- tao-run:end -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tao_runtime.audit.codes import CODES
from tao_runtime.bank.pages import code, markdown_table
from tao_runtime.errors import Finding, Fix
from tao_runtime.spec.base import Spec
from tao_runtime.spec.families import FAMILIES, Family
from tao_runtime.spec.keys import KeyInfo, find
from tao_runtime.spec.messages import required_keys

_BLOCK = re.compile(r"<!-- tao-run:begin (?P<call>[^>]*?) -->(?P<body>.*?)<!-- tao-run:end -->", re.DOTALL)
_MARK = re.compile(r"<!-- tao-run:(begin|end)\b")


class UnknownBlockError(ValueError):
    """A mark that names no block, or a key or action that does not exist."""


def fill_blocks(text: str, family: Family | None, *, file: str) -> tuple[str, tuple[Finding, ...]]:
    """Return the page with every block filled, and what is wrong with its marks. Code fences are no exception."""
    findings: list[Finding] = []
    families = [family] if family else list(FAMILIES.values())

    def fill(match: re.Match[str]) -> str:
        line = text.count("\n", 0, match.start()) + 1
        try:
            body = _render(match["call"].split(), families)
        except UnknownBlockError as error:
            findings.append(_unknown(match["call"], str(error), file, line))
            return match[0]
        edge = "\n" if "\n" in body or "\n" in match["body"] else ""
        return f"<!-- tao-run:begin {match['call']} -->{edge}{body}{edge}<!-- tao-run:end -->"

    filled = _BLOCK.sub(fill, text)
    stray = _MARK.search(_BLOCK.sub("", text))
    if stray:
        findings.append(_unknown("", "a begin without its end, or an end without its begin", file, None))
    return filled, tuple(findings)


def _unknown(call: str, problem: str, file: str, line: int | None) -> Finding:
    return Finding(
        rule="bank/block",
        severity="error",
        where=call or "tao-run:begin",
        saw=problem,
        want=f"one of {', '.join(_BLOCKS)}",
        fix=Fix(text="correct the mark"),
        file=file,
        pointer=f"line {line}" if line else None,
    )


def _render(call: list[str], families: list[Family]) -> str:
    if not call or call[0] not in _BLOCKS:
        raise UnknownBlockError("no block of this name")
    specs = [spec for family in families for spec in family.actions.values()]
    return _BLOCKS[call[0]](call[1:], specs)


def _of_action(arguments: list[str], specs: list[type[Spec]]) -> list[type[Spec]]:
    if not arguments:
        return specs
    chosen = [spec for spec in specs if spec.action == arguments[0]]
    if not chosen or len(arguments) > 1:
        raise UnknownBlockError(f"no action {' '.join(arguments)}")
    return chosen


def _key(path: str, specs: list[type[Spec]]) -> KeyInfo:
    for spec in specs:
        key = find(spec, path).key
        if key is not None:
            return key
    raise UnknownBlockError(f"no key {path}")


def _default(arguments: list[str], specs: list[type[Spec]]) -> str:
    if not arguments:
        raise UnknownBlockError("default of which key?")
    key = _key(arguments[0], _of_action(arguments[1:], specs))
    return "none: required" if key.required else code(key.default)


def _required(arguments: list[str], specs: list[type[Spec]]) -> str:
    keys = {key.path: key.doc for spec in _of_action(arguments, specs) for key in required_keys(spec)}
    return "\n".join(f"- `{path}`: {doc}" for path, doc in keys.items())


def _shorthand(arguments: list[str], specs: list[type[Spec]]) -> str:
    chosen = _of_action(arguments, specs)
    pairs = {alias: target for spec in chosen for alias, target in spec.aliases.items() if find(spec, target).key}
    return "\n".join(markdown_table(("Short", "Key"), [(f"`{short}`", f"`{path}`") for short, path in pairs.items()]))


def _critical(arguments: list[str], specs: list[type[Spec]]) -> str:
    rows = [
        (f"`{path}`", code(_key(path, [spec]).default), give, why)
        for spec in _of_action(arguments, specs)
        for path, (give, why) in spec.critical.items()
    ]
    return "\n".join(markdown_table(("Key", "Default", "Give it", "Why"), rows))


def _actions(arguments: list[str], specs: list[type[Spec]]) -> str:
    rows = [
        (spec.family, f"`{spec.action}`", (spec.__doc__ or "").splitlines()[0]) for spec in _of_action(arguments, specs)
    ]
    return "\n".join(markdown_table(("Family", "Action", "What it does"), rows))


def _audit_codes(arguments: list[str], specs: list[type[Spec]]) -> str:
    if arguments:
        raise UnknownBlockError("takes no argument")
    rows = [(f"`{code.name}`", code.severity, code.doc, code.fix) for code in CODES.values()]
    return "\n".join(markdown_table(("Code", "Severity", "What is wrong", "What to do"), rows))


_BLOCKS: Mapping[str, Callable[[list[str], list[type[Spec]]], str]] = {
    "default": _default,
    "required": _required,
    "shorthand": _shorthand,
    "critical-overrides": _critical,
    "actions": _actions,
    "audit-codes": _audit_codes,
}
