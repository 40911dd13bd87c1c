"""Every key of a spec as a value: the one source of messages, schemas, templates, parameter tables and `explain`."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tao_runtime.spec.base import Section
from tao_runtime.spec.scalar import parse_scalar

_CONFIG = ConfigDict(strict=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """All that is said about one key. `path` is dotted."""

    path: str
    type_text: str  # with bounds, for messages: "a whole number >= 1, or null"
    default: Any  # None where required
    required: bool
    choices: tuple[Any, ...]  # empty: free
    unit: str
    doc: str
    automl: Mapping[str, Any] = field(default_factory=dict)  # x-automl-* without the prefix
    popular: bool = False
    since: str = "7.0.0"
    optional_table: str | None = None  # the table that is off until given, if the key is in one
    annotation: Any = None

    def accepts(self, value: object) -> bool:
        """Whether the key's type takes this value as it is."""
        try:
            TypeAdapter(self.annotation, config=_CONFIG).validate_python(value)
        except ValueError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class TableInfo:
    """One table of a spec."""

    path: str
    doc: str
    model: type[Section]
    optional: bool  # off until given


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dotted name leads: a key (with `inner`, the name inside a free table), a table, or nowhere."""

    path: str
    key: KeyInfo | None = None
    table: TableInfo | None = None
    inner: str | None = None
    unknown: str | None = None  # the shortest dotted name that does not exist


def iter_keys(model: type[Section]) -> Iterator[KeyInfo]:
    """Yield every key, tables in the order of declaration."""
    for item in iter_items(model):
        if isinstance(item, KeyInfo):
            yield item


def iter_tables(model: type[Section]) -> Iterator[TableInfo]:
    """Yield every table."""
    for item in iter_items(model):
        if isinstance(item, TableInfo):
            yield item


def iter_items(model: type[Section], prefix: str = "", optional: str | None = None) -> Iterator[KeyInfo | TableInfo]:
    """Yield keys and tables, each table before its keys."""
    for name, info in model.model_fields.items():
        path = prefix + name
        section = section_of(info.annotation)
        if section is None:
            yield _key_info(path, info, optional)
            continue
        off = info.default is None
        yield TableInfo(path, info.description or "", section, off)
        yield from iter_items(section, path + ".", path if off else optional)


def find(model: type[Section], dotted: str) -> Place:
    """Follow a dotted name. Names inside free tables (patterns) may hold dots themselves."""
    place, prefix, rest = Place(""), "", dotted
    optional: str | None = None
    while True:
        name, _, rest = rest.partition(".")
        path = prefix + name
        info = model.model_fields.get(name)
        if info is None:
            return Place(dotted, unknown=path)
        section = section_of(info.annotation)
        if section is None:
            key = _key_info(path, info, optional)
            if rest and not _is_free_table(info.annotation):
                return Place(dotted, unknown=dotted)
            return Place(path, key=key, inner=rest or None)
        place = Place(path, table=TableInfo(path, info.description or "", section, info.default is None))
        if not rest:
            return place
        optional = path if info.default is None else optional
        model, prefix = section, path + "."


def section_of(annotation: Any) -> type[Section] | None:
    """The table class of an annotation, also of an optional one."""
    for item in (annotation, *get_args(annotation)):
        if isinstance(item, type) and issubclass(item, BaseModel):
            return item if issubclass(item, Section) else None
    return None


def _is_free_table(annotation: Any) -> bool:
    return any(get_origin(item) is dict for item in (annotation, *get_args(annotation)))


def _key_info(path: str, info: FieldInfo, optional: str | None) -> KeyInfo:
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    prefix = "x-automl-"
    annotation = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    options = extra.get(prefix + "options")
    return KeyInfo(
        path=path,
        type_text=describe(annotation),
        default=None if info.default is PydanticUndefined else info.default,
        required=info.is_required(),
        choices=_choices(annotation) or (tuple(options) if isinstance(options, list) else ()),
        unit=str(extra.get("x-unit", "")),
        doc=info.description or "",
        automl={name.removeprefix(prefix): value for name, value in extra.items() if name.startswith(prefix)},
        popular=bool(extra.get("x-popular", False)),
        since=str(extra.get("x-since", "7.0.0")),
        optional_table=optional,
        annotation=annotation,
    )


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) is Annotated:
        return _choices(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) is tuple:
        return _choices(get_args(annotation)[0])
    return ()


def describe(annotation: Any) -> str:
    """Say in words what a type takes, bounds included."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _describe_bounded(args[0], _bounds(args[1:]))
    if origin in (Union, types.UnionType):
        return ", or ".join(describe(item) for item in args)
    if origin is Literal:
        return (f"one of {', '.join(show(item) for item in args)}") if len(args) > 1 else show(args[0])
    return _describe_bounded(annotation, {})


def _describe_bounded(annotation: Any, bounds: Mapping[str, Any]) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return _describe_list(args, bounds)
    if origin is dict:
        return f"a table of {describe(args[1])} by name"
    if annotation is str:
        return "a text" + (" that is not empty" if bounds.get("min_length") == 1 else _pattern(bounds))
    if annotation is Any:
        return "anything"
    names = {int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    if annotation in names:
        return names[annotation] + _range(bounds)
    return describe(annotation)


def _describe_list(args: tuple[Any, ...], bounds: Mapping[str, Any]) -> str:
    if args[-1] is not Ellipsis:
        return f"a list of {len(args)} values, each {describe(args[0])}"
    low, high = bounds.get("min_length"), bounds.get("max_length")
    count = f" {low} to {high} values, each" if high else " at least one value, each" if low else " values, each"
    return f"a list of{count} {describe(args[0])}"


def _pattern(bounds: Mapping[str, Any]) -> str:
    pattern = bounds.get("pattern")
    if not pattern:
        return ""
    return ": " + ", ".join(str(pattern).strip("^$()").replace("[1-9][0-9]*", "N").split("|"))


def _range(bounds: Mapping[str, Any]) -> str:
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if low is not None and high is not None:
        open_ends = [str(bounds[name]) for name in ("gt", "lt") if name in bounds]
        return f" from {low} to {high}" + (f", {' and '.join(open_ends)} excluded" if open_ends else "")
    if low is not None:
        return f" {'>=' if 'ge' in bounds else '>'} {low}"
    return f" {'<=' if 'le' in bounds else '<'} {high}" if high is not None else ""


def _bounds(metadata: tuple[Any, ...]) -> dict[str, Any]:
    """Collect ge, gt, le, lt, lengths and pattern from annotated metadata of every kind pydantic keeps."""
    found: dict[str, Any] = {}
    for item in metadata:
        for source in (*getattr(item, "metadata", ()), item):
            for name in ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern"):
                value = getattr(source, name, None)
                if value is not None:
                    found[name] = value
    return found


def show(value: object) -> str:
    """Write a value as a spec file would, short enough for a message."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        bare = value == value.strip() and len(value) <= 60 and isinstance(parse_scalar(value), str)
        return value if bare else f'"{value[:60]}"' + ("..." if len(value) > 60 else "")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(show(item) for item in value[:8]) + (", ...]" if len(value) > 8 else "]")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {show(item)}" for name, item in list(value.items())[:4]) + "}"
    return str(value)
