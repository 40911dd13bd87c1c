"""The commented spec template of an action: every key with its default, its meaning and its bounds."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import yaml

from tao_runtime.spec.base import Section, Spec
from tao_runtime.spec.draft import MISSING
from tao_runtime.spec.keys import KeyInfo, TableInfo, iter_items

_WIDTH = 110


def render_template(spec: type[Spec]) -> str:
    """Return a YAML spec that is complete but for the keys marked `# required`."""
    head = [
        f"# {spec.family} {spec.action}. {_first_line(spec)}",
        "# Every key with its default; a key that is left out keeps it. `# required` marks what has none.",
        "",
    ]
    return "\n".join([*head, *_lines(spec, "", 0)]).rstrip() + "\n"


def _first_line(spec: type[Spec]) -> str:
    return (spec.__doc__ or "").strip().splitlines()[0]


def _lines(model: type[Section], prefix: str, depth: int) -> Iterator[str]:
    """Yield the lines of one table: its own keys first, then the tables in it."""
    items = [item for item in iter_items(model, prefix) if item.path.removeprefix(prefix).count(".") == 0]
    for item in sorted(items, key=lambda item: isinstance(item, TableInfo)):
        if isinstance(item, KeyInfo):
            yield from _key(item, depth)
        else:
            yield from _table(item, depth)


def _key(key: KeyInfo, depth: int) -> Iterator[str]:
    unit = f"; {key.unit}" if key.unit else ""
    yield from _comment(f"{key.doc} [{key.type_text}{unit}]", depth)
    name = key.path.rpartition(".")[2]
    if key.required:
        yield f"{_indent(depth)}{name}: {_value(MISSING)}  # required"
    else:
        yield f"{_indent(depth)}{name}: {_value(key.default)}"


def _table(table: TableInfo, depth: int) -> Iterator[str]:
    name = table.path.rpartition(".")[2]
    if depth == 0:
        yield ""
    yield from _comment(table.doc, depth)
    inner = _lines(table.model, table.path + ".", depth + 1)
    if not table.optional:
        yield f"{_indent(depth)}{name}:"
        yield from inner
        return
    yield from _comment("Off until given. To turn it on, put this in the place of null:", depth)
    yield f"{_indent(depth)}# {name}:"
    yield from (f"{_indent(depth)}# {line[2 * depth :]}" for line in inner)
    yield f"{_indent(depth)}{name}: null"


def _comment(text: str, depth: int) -> Iterator[str]:
    indent = _indent(depth)
    for line in textwrap.wrap(text, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False):
        yield f"{indent}# {line}"


def _indent(depth: int) -> str:
    return "  " * depth


def _value(value: object) -> str:
    """Write a value so that readers of YAML 1.1 and 1.2 agree on it (1.0e-06, not 1e-06)."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
