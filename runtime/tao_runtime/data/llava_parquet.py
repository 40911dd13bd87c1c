"""Conversations about pictures in parquet files, as LLaVA-OneVision has them: id, image, conversations."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tao_runtime.data.annotations import ColumnBuilder
from tao_runtime.data.consistency import AgreementFold
from tao_runtime.data.facts import DatasetFacts, MediaHeader
from tao_runtime.data.fold import At, Collector, quote
from tao_runtime.data.llava import ConversationFold, IdFold
from tao_runtime.data.media import ASPECT, MAX_ASPECT
from tao_runtime.data.parquet_rules import COLUMNS, NO_COLUMN, NO_PICTURE
from tao_runtime.data.paths import is_file
from tao_runtime.data.progress import Progress
from tao_runtime.data.references import judge_tags
from tao_runtime.data.same_content import digest_of
from tao_runtime.errors import InputError
from tao_runtime.spec.base import DatasetRef

MARK: Final = "#"  # between a parquet file and a row: the path of a picture inside it
BATCH_ROWS: Final = 64  # pictures are in the rows; this many are in memory at a time


def parquet_files(annotation: Path) -> list[Path]:
    """Return the parquet files of a data set, in order. Raises InputError if there are none."""
    files = [annotation] if is_file(annotation) else sorted(annotation.rglob("*.parquet"))
    if not files:
        raise InputError(f"{annotation}: no parquet file; want *.parquet with the columns {', '.join(COLUMNS)}")
    return files


class _Pictures:
    """Hashes of the bytes of the pictures of the row last seen, by which records about one picture are found."""

    def __init__(self) -> None:
        self.current: list[int] = []

    def see(self, picture: object) -> None:
        data = _bytes(picture)
        self.current = [] if data is None else [hash(data)]


def _bytes(picture: object) -> object:
    return picture.get("bytes") if isinstance(picture, dict) else picture


def probe_llava_parquet(ref: DatasetRef, progress: Progress | None = None) -> DatasetFacts:
    """Judge every row and open every picture's header. Raises InputError if there is no file, or one is broken."""
    annotation = Path(ref.annotation)
    findings = Collector(where=ref.annotation_key, file=str(annotation))
    turns, columns, ids, pictures = ConversationFold(ref.conversation_key), ColumnBuilder(), IdFold(), _Pictures()
    agreement = AgreementFold(ref.conversation_key, pictures)
    media: list[MediaHeader] = []
    files = parquet_files(annotation)
    for number, (file, row, record) in enumerate(_rows(annotation, findings)):
        findings.failed = False
        picture = record.get("image")
        pictures.see(picture)
        turns.see(number, record, findings)
        judge_tags(number, record, turns, ("image", len(pictures.current)), findings)
        for fold in (ids, agreement):
            fold.see(number, record, findings)
        header = _picture(picture, Path(f"{file}{MARK}{row}"), number, findings)
        indices = [len(media)] if header is not None else []
        media += [header] if header is not None else []
        columns.add(number, 0, turns, indices, float("nan"), usable=not findings.failed)
        if progress is not None and not row:
            progress(f"{ref.label} files", files.index(file), len(files))
    for fold in (ids, agreement):
        fold.finish(findings)
    found = findings.findings()
    sha256 = parquet_sha256(annotation)
    return DatasetFacts(ref.label, annotation, annotation, sha256, columns.freeze(), tuple(media), found)


def parquet_sha256(annotation: Path) -> str:
    """Return a digest of names, sizes and row counts of a data set's files. Raises InputError for a broken one."""
    digest = hashlib.sha256()
    for file in parquet_files(annotation):
        try:
            rows = pq.read_metadata(file).num_rows
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: {str(error).splitlines()[0]}; want a parquet file") from None
        digest.update(f"{file.name}\0{file.stat().st_size}\0{rows}\0".encode())
    return digest.hexdigest()


def _rows(annotation: Path, findings: Collector) -> Iterator[tuple[Path, int, Mapping[str, object]]]:
    for file in parquet_files(annotation):
        try:
            table = pq.ParquetFile(file)
            missing = [name for name in COLUMNS if name not in table.schema_arrow.names]
            if missing:
                findings.add(NO_COLUMN, f"no column {', '.join(missing)}", ", ".join(COLUMNS), at=At(file=str(file)))
                continue
            row = 0
            for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=list(COLUMNS)):
                for record in batch.to_pylist():
                    yield file, row, record
                    row += 1
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file}: {str(error).splitlines()[0]}; want a parquet file") from None


def _picture(value: object, path: Path, number: int, findings: Collector) -> MediaHeader | None:
    """Return the header of a row's picture; None for a row without one, or with one that does not open."""
    data, at = _bytes(value), At(number, "/image")
    if data is None:
        return None
    if not isinstance(data, bytes):
        findings.add(NO_PICTURE, quote(data), "the bytes of a picture", at=at)
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            codec = (image.format or "").lower()
            image.verify()  # as for a file: the checks of the container, no pixels
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        findings.add(NO_PICTURE, str(error).split(" <")[0] or "not a picture", "a picture", at=at)
        return None
    if max(width, height) > MAX_ASPECT * min(width, height):
        findings.add(ASPECT, f"{width}x{height}", f"sides within {MAX_ASPECT}:1", at=at)
        return None
    return MediaHeader(path, "image", width, height, 1, 0.0, codec, len(data), content=digest_of(data))


@lru_cache(maxsize=4)
def _starts(annotation: Path) -> tuple[tuple[Path, int], ...]:
    """Return each file with the number of its first row."""
    starts, first = [], 0
    for file in parquet_files(annotation):
        starts.append((file, first))
        first += pq.ParquetFile(file).metadata.num_rows
    return tuple(starts)


def read_row(annotation: Path, offset: int, size: int = 0) -> Mapping[str, object]:
    """Return row `offset` of a data set, its picture as a path that `read_picture` takes."""
    file, first = [entry for entry in _starts(annotation) if entry[1] <= offset][-1]
    record = _row(file, offset - first, ("id", "conversations"))
    picture = _row(file, offset - first, ("image",))["image"]
    has = picture.get("bytes") if isinstance(picture, dict) else picture
    return {**record, "image": f"{file}{MARK}{offset - first}"} if has is not None else record


def inside_parquet(path: Path) -> bool:
    """Whether a path names a row of a parquet file: `file.parquet#row`."""
    return f".parquet{MARK}" in path.name


def parquet_of(path: Path) -> Path:
    """Return the file that a row is in."""
    return Path(str(path).rpartition(MARK)[0])


def picture_header(path: Path) -> MediaHeader:
    """Return the header of a picture inside a parquet file, which probing has seen to open."""
    data = read_picture(path)
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        return MediaHeader(path, "image", width, height, 1, 0.0, (image.format or "").lower(), len(data))


def read_picture(path: Path) -> bytes:
    """Return the bytes of a picture inside a parquet file: `file.parquet#row`."""
    file, _, row = str(path).rpartition(MARK)
    picture = _row(Path(file), int(row), ("image",))["image"]
    data = picture.get("bytes") if isinstance(picture, dict) else picture
    assert isinstance(data, bytes)
    return data


def _row(file: Path, row: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Read one row by the row group it is in."""
    table = pq.ParquetFile(file)
    for group in range(table.num_row_groups):
        count = table.metadata.row_group(group).num_rows
        if row < count:
            (found,) = table.read_row_group(group, columns=list(names)).slice(row, 1).to_pylist()
            return dict(found)
        row -= count
    raise InputError(f"{file}: has no row {row}")
