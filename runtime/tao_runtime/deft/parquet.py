"""gaps.parquet: the failures, one row each. The same columns always, also with no rows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tao_runtime.errors import InputError
from tao_runtime.score.gap import Gap

SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),  # the full path, as the first readers of this file expect
        pa.field("question", pa.string(), nullable=False),
        pa.field("ground_truth", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("response", pa.string()),
        pa.field("parsed", pa.string()),
        pa.field("error_type", pa.string(), nullable=False),
        pa.field("f1", pa.float64(), nullable=False),
    ]
)
ROW_GROUP = 8192  # rows held in memory


class GapWriter:
    """Collects rows into row groups."""

    def __init__(self, writer: Any) -> None:
        self.num_rows = 0
        self._writer = writer
        self._rows: list[dict[str, object]] = []

    def add(self, gap: Gap) -> None:
        self._rows.append({name: to_utf8(value) if isinstance(value, str) else value for name, value in gap})
        self.num_rows += 1
        if len(self._rows) == ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._writer.schema))
        self._rows.clear()


@contextmanager
def open_gaps(path: Path, *, metadata: Mapping[str, str]) -> Iterator[GapWriter]:
    """Write to a temporary name beside `path`; the file takes its name when the block ends without an exception."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = pq.ParquetWriter(temporary, SCHEMA.with_metadata(dict(metadata)), compression="zstd")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error}); want a path in a writable directory") from error
    try:
        with writer:
            gaps = GapWriter(writer)
            yield gaps
            gaps.flush()
        try:
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be replaced ({error}); want the path of a file") from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def read_gaps(path: Path) -> Iterator[Gap]:
    """Stream the rows of a gaps.parquet. Raises InputError if it is none."""
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({error}); want a gaps.parquet") from error
    with file:
        names = set(file.schema_arrow.names)
        if missing := [name for name in ("question", "ground_truth") if name not in names]:
            raise InputError(f"{path}: no column {', '.join(missing)}; want {', '.join(SCHEMA.names)}")
        for batch in file.iter_batches(ROW_GROUP):
            for row in batch.to_pylist():
                yield _gap(row)


def _gap(row: dict[str, Any]) -> Gap:
    """A file of the first gap analyser has three columns only; what it lacks is not made up."""
    kept = {name: row.get(name) for name in SCHEMA.names}
    defaults = {"error_type": kept["error_type"] or "WRONG", "f1": kept["f1"] or 0.0}
    texts = {name: str(kept[name] or "") for name in ("video_id", "question", "ground_truth", "id")}
    return Gap.model_validate({**kept, **defaults, **texts})


def to_utf8(text: str) -> str:
    """A lone surrogate, which JSON can spell and UTF-8 cannot, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
