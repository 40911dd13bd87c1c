"""One helper that declares a key of a spec: its type stays in the annotation, everything said about it goes here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from pydantic import Field

REQUIRED: Any = ...

Text = Annotated[str, Field(min_length=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
# Sections are strict, and a strict tuple refuses the list that every file format gives; only the container is lax.
Texts = Annotated[tuple[str, ...], Field(strict=False)]


@dataclass(frozen=True, slots=True)
class Automl:
    """How a search may vary a key. Bounds here are those of the search; the key itself takes more."""

    enabled: bool | None = None  # True: searched by default; False: never searched; None: on request
    minimum: float | tuple[float, ...] | None = None
    maximum: float | tuple[float, ...] | None = None
    options: tuple[Any, ...] | None = None
    option_weights: Mapping[str, float] | None = None
    math_condition: str | None = None  # "^ 2": a power of two; "/ 2": at most half of `depends_on`
    depends_on: str | None = None
    parent: bool | None = None  # other keys are drawn after this one


def key(  # the first two are always given, the rest name themselves
    default: Any,
    doc: str,
    *,
    unit: str = "",
    automl: Automl | None = None,
    popular: bool = False,
    since: str = "7.0.0",
) -> Any:
    """Declare a key. `since` is the upstream version that has it; `cosmos-rl` its open code, `tao-run` this project."""
    extra: dict[str, Any] = {"x-since": since}
    if unit:
        extra["x-unit"] = unit
    if popular:
        extra["x-popular"] = True
    extra.update(_annotations(automl))
    return Field(description=doc, json_schema_extra=extra, **({} if default is REQUIRED else {"default": default}))


def table(default: Any, doc: str) -> Any:
    """Declare a table: REQUIRED if it holds a required key, None if it is off until given, else its default value."""
    extra: dict[str, Any] = {"x-automl-enabled": False}
    return Field(description=doc, json_schema_extra=extra, **({} if default is REQUIRED else {"default": default}))


def _annotations(automl: Automl | None) -> dict[str, Any]:
    if automl is None:
        return {}
    found: dict[str, Any] = {}
    for field in fields(automl):
        value = getattr(automl, field.name)
        if value is not None:
            plain = list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
            found["x-automl-" + field.name.replace("_", "-")] = plain
    return found
