"""Rules about conversations in parquet files; apart from their reader, whose libraries are slow to import."""

from __future__ import annotations

from typing import Final

from tao_runtime.data.fold import declare

COLUMNS: Final = ("id", "image", "conversations")

NO_COLUMN = declare(
    "dataset/parquet-columns",
    "error",
    "A parquet file of conversations has the columns id, image and conversations.",
    source="LLaVA-OneVision's own files",
)
NO_PICTURE = declare(
    "dataset/parquet-image", "error", "A picture in a parquet file opens.", source="the loader opens it during the run"
)
