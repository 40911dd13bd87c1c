"""What a piece of YAML text means: the core types of YAML 1.2, where `1e-6` is a number and `no` is a text."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_OCT_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF_NAN = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAX_DIGITS = 300  # longer digits are no number anybody means, and Python refuses to parse some of them

TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {TAG + name for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}
_MAX_VALUES = 100_000


class YamlError(ValueError):
    """A YAML text that cannot be read; `line` counts from 1."""

    def __init__(self, message: str, line: int | None) -> None:
        self.line = line
        super().__init__(message)


def parse_scalar(text: str) -> object:
    """Return what an unquoted YAML scalar means."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return bool(_TRUE.fullmatch(text))
    if len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _OCT_HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.lower().replace(".", "")) if _INF_NAN.fullmatch(text) else text


def parse_value(text: str) -> object:
    """Return what the right-hand side of an override means: a scalar, `[...]`, `{...}` or quotes. Raises YamlError."""
    text = text.strip()
    if text[:1] not in ("[", "{", '"', "'"):
        return parse_scalar(text)
    node = compose(text)
    return plain(node)


def compose(text: str) -> yaml.Node | None:
    """Return the node tree of a YAML text, None if it is empty. Raises YamlError."""
    try:
        return yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(error.problem or "not valid YAML", mark.line + 1 if mark else None) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(str(error).splitlines()[0] if str(error) else "not valid YAML", None) from None


def plain(node: yaml.Node | None, budget: list[int] | None = None) -> object:
    """Return the Python value of a node."""
    budget = budget if budget is not None else [_MAX_VALUES]
    budget[0] -= 1
    if budget[0] < 0:
        raise YamlError(f"more than {_MAX_VALUES:,} values", node_line(node))
    if node is None:
        return None
    if node.tag not in _PLAIN_TAGS:
        raise YamlError(f"tag {node.tag} is not allowed", node_line(node))
    if isinstance(node, yaml.ScalarNode):
        node.value = _joined(node)
        return _scalar(node)
    try:
        if not isinstance(node, yaml.MappingNode):
            return [plain(item, budget) for item in node.value]
        return {name: plain(value, budget) for name, _, value in pairs(node)}
    except RecursionError:
        raise YamlError("a value that contains itself", node_line(node)) from None


def pairs(node: yaml.MappingNode) -> Iterator[tuple[str, int, yaml.Node]]:
    """Yield (key, line, value) of a mapping, keys merged by `<<` last. Raises YamlError for a key that is no text."""
    merged: list[tuple[str, int, yaml.Node]] = []
    own: set[str] = set()
    for name, value in node.value:
        if not isinstance(name, yaml.ScalarNode):
            raise YamlError("a key that is not a text", node_line(name))
        if name.value == "<<" and name.style is None:
            merged.extend(item for source in _merge_sources(value) for item in pairs(source))
            continue
        own.add(name.value)
        yield name.value, node_line(name), value
    yield from (item for item in merged if item[0] not in own)


def _merge_sources(value: yaml.Node) -> list[yaml.MappingNode]:
    sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
    if not all(isinstance(source, yaml.MappingNode) for source in sources):
        raise YamlError("<< needs a table to merge", node_line(value))
    return list(sources)


def node_line(node: yaml.Node | None) -> int:
    """Line of a node, from 1."""
    return int(node.start_mark.line) + 1 if node is not None and node.start_mark else 1


def _joined(node: yaml.ScalarNode) -> str:
    """Return a text whose characters beyond 16 bits are one each: JSON escapes them in halves, YAML reads each half.

    Raises:
        YamlError: a half stands alone.
    """
    text = str(node.value)
    if not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise YamlError("half of a surrogate pair: no character", node_line(node)) from None


def _scalar(node: yaml.ScalarNode) -> object:
    text = str(node.value)
    return parse_scalar(text) if node.style is None and node.tag == TAG + "str" else text
