"""Rules of the structured dialect: run and mesh, assets, and what is made into video."""

from __future__ import annotations

from typing import Final

from tao_runtime.spec.families import FAMILIES
from tao_runtime.spec.structured.spec import StructuredSpec

_SPECS: Final = [spec for family in FAMILIES.values() for spec in family.actions.values()]
STRUCTURED: Final = tuple(dict.fromkeys(spec.family for spec in _SPECS if issubclass(spec, StructuredSpec)))
VIDEO: Final = tuple(
    dict.fromkeys(spec.family for spec in _SPECS if issubclass(spec, StructuredSpec) and spec.makes_video)
)
