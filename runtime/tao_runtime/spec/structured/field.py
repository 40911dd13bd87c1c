"""How a key of the structured dialect is declared: as any key, from the upstream framework unless told otherwise."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tao_runtime.spec import field
from tao_runtime.spec.field import PositiveInt

Dtype = Literal["bfloat16", "float16", "float32"]
Degree = Annotated[int, Field(ge=-1)]
Steps = Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)]
OURS = "tao-run"
PREDICT = "cosmos-predict"  # upstream of the world models: its guides and its command line


def key(default: Any, doc: str, *, unit: str = "", since: str = "cosmos-framework") -> Any:
    """Declare a key; `since` is OURS for what upstream keeps in Python and this project puts into the file."""
    return field.key(default, doc, unit=unit, since=since)
