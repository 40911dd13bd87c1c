"""The annotations that results are joined to: an index of ids in memory, the records themselves on disk."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator

from tao_runtime.data.fold import At, Collector, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.deft import rules
from tao_runtime.deft.records import AnnotationSet, id_of, inside, media_of, question_of, truth_of, without_tags
from tao_runtime.score.results import Result


class Annotations:
    """Index of an annotation file: id -> row, and each row's place in the file.

    Memory: about 150 bytes an id (30 MB for 200,000), and nothing of the records. Faults go to `faults`.
    """

    def __init__(self, source: AnnotationSet) -> None:
        self.source = source
        self.faults = Collector(where="kpi-ann-path", file=str(source.annotation))
        self._rows: dict[str, int] = {}
        self._twins: dict[str, list[int]] = {}  # rows of an id that occurs more than once
        self._offsets, self._sizes = array("q"), array("q")
        digest = hashlib.sha256()
        for row, offset, size, record in iter_array(source.annotation, on_bytes=digest.update):
            self._offsets.append(offset)
            self._sizes.append(size)
            self._enter(row, record)
        self.sha256 = digest.hexdigest()
        self._seen = bytearray(len(self._offsets))
        self._file = source.annotation.open("rb")

    def _enter(self, row: int, record: object) -> None:
        if not isinstance(record, dict):
            self.faults.add(rules.NOT_OBJECT, quote(record), "an object", at=At(row))
            return
        key = id_of(record)
        if key is None:
            saw = f"id: {quote(record['id'])}" if "id" in record else "no id"
            self.faults.add(rules.NO_ID, saw, "an id, a string or a whole number", at=At(row, "/id"))
            return
        first = self._rows.setdefault(key, row)
        if first != row:
            self._twins.setdefault(key, [first]).append(row)
            saw = f"id {quote(key)} as in record {first}"
            self.faults.add(rules.SAME_ID, saw, "an id of its own", at=At(row, "/id"))

    def __len__(self) -> int:
        return len(self._offsets)

    def close(self) -> None:
        self._file.close()

    def claim(self, index: int, result: Result, faults: Collector) -> int | None:
        """Return the annotation row that a result answers, each only once; None, with a fault, if there is none."""
        at = At(index, "/video_id" if result.id is None else "/id")
        row = self._rows.get(result.key)
        if row is None:
            faults.add(rules.UNKNOWN_ID, f"id {quote(result.key)}", "an id of the annotations", at=at)
            return None
        if result.key in self._twins:
            row = self._choose(index, result, faults)
            if row is None:
                return None
        if self._seen[row]:
            saw = f"a second answer to annotation {row}, id {quote(result.key)}"
            faults.add(rules.DUPLICATE, saw, "one answer per annotation", at=at)
            return None
        self._seen[row] = 1
        return row

    def _choose(self, index: int, result: Result, faults: Collector) -> int | None:
        """Pick among annotations of one id: by the media the row names, then by question and ground truth."""
        candidates = [(row, self.record(row)) for row in self._twins[result.key]]
        fits: list[Callable[[dict[str, object]], bool]] = [
            lambda record: result.video is None or result.video in (media_of(record) or ("", []))[1],
            lambda record: question_of(record) == without_tags(result.question),
            lambda record: truth_of(record) == result.gt,
        ]
        for fit in fits:
            candidates = [(row, record) for row, record in candidates if fit(record)] or candidates
        if len({str(media_of(record)) for _, record in candidates}) > 1:
            rows = ", ".join(str(row) for row, _ in candidates)
            saw = f"id {quote(result.key)} fits annotations {rows}, which name different media"
            faults.add(rules.AMBIGUOUS, saw, "an id that only one annotation has", at=At(index, "/video_id"))
            for row, _ in candidates:  # one of them was answered, nobody can say which: none is called missing
                self._seen[row] = 1
            return None
        return next((row for row, _ in candidates if not self._seen[row]), candidates[0][0])

    def record(self, row: int) -> dict[str, object]:
        """Read one record again."""
        self._file.seek(self._offsets[row])
        record = json.loads(self._file.read(self._sizes[row]))
        return record if isinstance(record, dict) else {}

    def media_path(self, row: int, record: dict[str, object]) -> str | None:
        """Full path of the first medium of a record; None, with a fault, if there is none inside the media root."""
        media = media_of(record)
        if media is None:
            want = "a path under video, image or images"
            self.faults.add(rules.NO_MEDIA, "no media", want, at=At(row, "/video"))
            return None
        key, names = media
        path = inside(self.source.media_root, names[0])
        if path is None:
            saw = f"{quote(names[0])} leads out of {self.source.media_root}"
            self.faults.add(rules.OUTSIDE, saw, "a path inside the media root", at=At(row, f"/{key}"))
        return path

    def unanswered(self) -> Iterator[int]:
        """Rows with an id that no result claimed."""
        for rows in (self._twins.get(key, [first]) for key, first in self._rows.items()):
            yield from (row for row in rows if not self._seen[row])
