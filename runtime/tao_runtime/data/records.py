"""Read one record of a data set again, by the place that probing noted, whatever the layout of the data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from tao_runtime.data.captions import caption_of
from tao_runtime.data.llava_parquet import parquet_sha256, read_row
from tao_runtime.data.t5 import find_embedding
from tao_runtime.data.video_folder import folder_sha256, read_clip, read_file
from tao_runtime.data.video_jsonl import embedding_stem
from tao_runtime.data.videophy2 import read_entry, videophy2_sha256
from tao_runtime.errors import InputError


def read_json_record(annotation: Path, offset: int, size: int) -> Mapping[str, object]:
    """Read an object of a JSON array, or of JSON lines."""
    with annotation.open("rb") as file:
        file.seek(offset)
        value = json.loads(file.read(size))
    assert isinstance(value, dict)
    return value


def _read_row(annotation: Path, offset: int, size: int) -> Mapping[str, object]:

    return read_row(annotation, offset, size)


def _parquet_sha256(annotation: Path) -> str:

    return parquet_sha256(annotation)


READERS: Final[dict[str, Callable[[Path, int, int], Mapping[str, object]]]] = {
    "llava": read_json_record,
    "video-jsonl": read_json_record,
    "llava-parquet": _read_row,
    "videophy2": read_entry,
    "video-folder": read_clip,
}


def _file_sha256(annotation: Path) -> str:
    with annotation.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


DIGESTS: Final[dict[str, Callable[[Path], str]]] = {
    "llava": _file_sha256,
    "video-jsonl": _file_sha256,
    "llava-parquet": _parquet_sha256,
    "videophy2": videophy2_sha256,
    "video-folder": folder_sha256,
}


def content_sha256(layout: str, annotation: Path) -> str:
    """Return the digest of a data set as probing took it. Raises OSError or InputError if it cannot be read."""
    return DIGESTS[layout](annotation)


@dataclass(frozen=True, slots=True)
class ClipText:
    """What is said of a clip."""

    caption: str
    structured: bool = False  # JSON
    embedding: str | None = None  # file of its states


class ClipPlace(Protocol):
    """Where clips lie: the columns of a ledger that this module reads."""

    @property
    def annotation(self) -> Path: ...

    @property
    def format(self) -> str: ...

    @property
    def file(self) -> npt.NDArray[np.str_]: ...

    @property
    def offset(self) -> npt.NDArray[np.int64]: ...

    @property
    def size(self) -> npt.NDArray[np.int64]: ...


def read_caption(place: ClipPlace, position: int, window: int) -> ClipText:
    """Return the caption of a window of a clip.

    Raises:
        InputError: it has none any more.
    """
    if place.format == "video-folder":
        record = read_file(place.annotation, Path(str(place.file[position])))
        text, embedding = str(record["caption"]), record["embedding"]
        return ClipText(text, embedding=str(embedding) if embedding else None)
    record = read_record(place.format, place.annotation, int(place.offset[position]), int(place.size[position]))
    windows = record["t2w_windows"]
    caption = caption_of(windows[window]) if isinstance(windows, list) else None
    if caption is None:
        raise InputError(f"{place.annotation}: window {window} of {place.file[position]} has no caption")
    stem = embedding_stem(place.annotation, str(record["vision_path"]), window)
    embedding = find_embedding(stem.parent, stem.name)
    return ClipText(caption.text, caption.structured, str(embedding) if embedding else None)


def read_record(layout: str, annotation: Path, offset: int, size: int) -> Mapping[str, object]:
    """Return a record as a LLaVA or clip record."""
    return READERS[layout](annotation, offset, size)
