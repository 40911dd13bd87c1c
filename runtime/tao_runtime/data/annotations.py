"""One pass over an annotation file: record rules, per-record columns, the media it names; and single records again."""

from __future__ import annotations

import hashlib
import json
import math
import os
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tao_runtime.data.consistency import AbsoluteFold, AgreementFold
from tao_runtime.data.facts import DatasetFacts, MediaKind, RecordColumns
from tao_runtime.data.fold import At, Collector, Fold, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.llava import NOT_OBJECT, ConversationFold, IdFold, VideoFpsFold
from tao_runtime.data.paths import is_dir, size_of
from tao_runtime.data.record_keys import MisspeltFold
from tao_runtime.data.references import MediaFold
from tao_runtime.data.source_video import Cut, SourceFold
from tao_runtime.data.usual import Usual
from tao_runtime.spec.base import DatasetRef

ANNOTATION_NAME: Final = "annotations.json"  # of a dataset root
MEDIA_LABEL: Final = "media"  # a dataset that is asked about: a file, a folder of media, or records without answers
FoldFactory = Callable[[DatasetRef], Fold]


@dataclass(frozen=True, slots=True)
class Scan:
    """What one pass over an annotation file gives. The media are named, not yet looked into."""

    annotation: Path
    media_root: Path
    sha256: str
    columns: RecordColumns
    files: tuple[tuple[str, MediaKind], ...]
    fps: npt.NDArray[np.float32]  # [N] video_fps to 7 digits; NaN: none
    findings: Collector
    cuts: Mapping[int, Cut]  # by record: what it says of its source video
    rates: Mapping[int, Mapping[str, list[float]]]  # by record and key: frame rates of several videos, or said twice
    repeated: frozenset[int]  # records that have the id of an earlier one


def locate(ref: DatasetRef) -> tuple[Path, Path]:
    """Return the annotation file and the media root; a directory is a dataset root and holds both."""
    annotation = Path(ref.annotation)
    root = annotation if is_dir(annotation) else annotation.parent
    return annotation / ANNOTATION_NAME if is_dir(annotation) else annotation, Path(ref.media) if ref.media else root


def scan_annotations(
    ref: DatasetRef,
    *,
    conversation_key: str = "conversations",
    folds: Sequence[FoldFactory] = (),
    progress: Callable[[int, int], None] | None = None,
    short_cut: bool = True,
) -> Scan:
    """Judge and measure every record of an annotation file; `folds` are further record rules.

    Without the short cut the folds look at every record: slower, and the same. `progress` takes bytes, and all of them.

    Raises InputError if the file cannot be read at all.
    """
    annotation, root = locate(ref)
    findings = Collector(where=ref.annotation_key, file=str(annotation))
    turns, digest = ConversationFold(conversation_key, answers=ref.label != MEDIA_LABEL), hashlib.sha256()
    media, rate, source, ids = MediaFold(root, turns), VideoFpsFold(), SourceFold(), IdFold()
    agreement, absolute = AgreementFold(conversation_key, media), AbsoluteFold()  # after the rules of one record
    own: list[Fold] = [turns, media, rate, source, ids, agreement, absolute, MisspeltFold(conversation_key)]
    extra = [make(ref) for make in folds]
    usual, columns = Usual(turns, media, rate, ids, agreement, absolute), ColumnBuilder()
    total = size_of(annotation)
    for index, offset, size, record in iter_array(annotation, on_bytes=digest.update):
        findings.failed = False
        if type(record) is dict:
            if not (short_cut and usual.take(index, record, findings)):
                for fold in own:
                    fold.see(index, record, findings)
            for fold in extra:
                fold.see(index, record, findings)
            columns.add(offset, size, turns, media.current, rate.fps, usable=not findings.failed)
        else:
            findings.add(NOT_OBJECT, quote(record), "an object", at=At(index))
            columns.add(offset, size, None, (), math.nan, usable=False)
        if progress is not None and not index % 10_000:
            progress(offset + size, total)
    for fold in (*own, *extra):
        fold.finish(findings)
    frozen = columns.freeze()
    fps = _view(columns.fps, np.float32)
    files, repeated = tuple(media.files), frozenset(ids.repeated)
    sha256 = digest.hexdigest()
    return Scan(annotation, root, sha256, frozen, files, fps, findings, source.cuts, rate.said, repeated)


@dataclass(slots=True)
class ColumnBuilder:
    """Columns that grow, in machine numbers: 37 bytes a record."""

    offset: array[int] = field(default_factory=lambda: array("q"))
    size: array[int] = field(default_factory=lambda: array("i"))
    text: array[int] = field(default_factory=lambda: array("i"))
    answer: array[int] = field(default_factory=lambda: array("i"))
    turns: array[int] = field(default_factory=lambda: array("i"))
    start: array[int] = field(default_factory=lambda: array("i", [0]))
    media: array[int] = field(default_factory=lambda: array("i"))
    usable: bytearray = field(default_factory=bytearray)
    fps: array[float] = field(default_factory=lambda: array("f"))

    def add(
        self, offset: int, size: int, turns: ConversationFold | None, media: Iterable[int], fps: float, *, usable: bool
    ) -> None:
        self.offset.append(offset)
        self.size.append(size)
        self.text.append(turns.text_bytes if turns else 0)
        self.answer.append(turns.answer_bytes if turns else 0)
        self.turns.append(turns.num_turns if turns else 0)
        self.media.extend(media)
        self.start.append(len(self.media))
        self.usable.append(usable)
        self.fps.append(fps)

    def freeze(self) -> RecordColumns:
        return RecordColumns(
            offset=_view(self.offset, np.int64),
            size=_view(self.size, np.int32),
            text_bytes=_view(self.text, np.int32),
            answer_bytes=_view(self.answer, np.int32),
            num_turns=_view(self.turns, np.int32),
            media_start=_view(self.start, np.int32),
            media_index=_view(self.media, np.int32),
            usable=_view(self.usable, np.bool_),
        )


def _view(column: array[int] | array[float] | bytearray, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Give a finished column to numpy without copying it."""
    return np.frombuffer(column, dtype=dtype) if len(column) else np.empty(0, dtype)


class RecordReader:
    """Reads single records by their place in the file. May be pickled, and shared by forked workers."""

    def __init__(self, facts: DatasetFacts) -> None:
        self.path = facts.annotation
        self.offset, self.size = facts.columns.offset, facts.columns.size
        self._file: int | None = None

    def __len__(self) -> int:
        return len(self.offset)

    def __getitem__(self, index: int) -> dict[str, object]:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        # pread: forked workers share the file position, so it must not be used
        record = json.loads(os.pread(self._file, int(self.size[index]), int(self.offset[index])))
        if not isinstance(record, dict):
            raise TypeError(f"{self.path}: record {index} is not an object")
        return record

    def __getstate__(self) -> Mapping[str, object]:
        return {**self.__dict__, "_file": None}

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]
