"""What one pass over a data set of clips collects: columns, windows, files, findings; and the facts made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import JsonValue

from tao_runtime.data.clip_repeats import judge_repeats
from tao_runtime.data.clips import Window
from tao_runtime.data.facts import DatasetFacts, MediaHeader, MediaKind, RecordColumns, WindowColumns
from tao_runtime.data.fold import At, Collector, Listener, declare
from tao_runtime.data.media import cache_path, probe_media
from tao_runtime.data.paths import homes
from tao_runtime.data.progress import Progress, part_of
from tao_runtime.data.t5 import Encoder
from tao_runtime.spec.base import DatasetRef

TO_THE_END: Final = 2**31 - 1
_LOADER = "upstream's loader drops such a sample with a warning, for ever"

NO_CLIPS = declare("clips/none", "error", "A data set of clips holds clips.", source="an empty loader never ends")
MALFORMED = declare("clips/record-malformed", "error", "A record names its clip and its windows.", source=_LOADER)
BAD_WINDOW = declare("clips/window", "error", "A window starts before it ends, inside the clip.", source=_LOADER)
NO_CAPTION = declare("clips/caption-empty", "error", "Every window has a caption.", source=_LOADER)
OUTSIDE = declare("clips/path", "error", "A clip is a local file, inside the data set if its path is relative.",
                  source="paths stay under their roots")  # fmt: skip
BEYOND = declare(
    "clips/window-end",
    "warning",
    "A window ends where its clip does, or before.",
    source="the frames that its caption speaks of are not there: the file was cut, or is another one",
)
BROKEN = declare(
    "clips/header", "error", "Every clip opens as a video, and says how many frames it has.", source=_LOADER
)


@dataclass(frozen=True, slots=True)
class Row:
    """One clip."""

    file: Path
    windows: Sequence[tuple[Window, int, bool]]  # window, bytes of its caption, whether that is JSON
    captions: Sequence[int]  # hash of each window's caption
    offset: int = 0
    size: int = 0
    usable: bool = True
    embedded: bool = False


@dataclass
class ClipSet:
    """Rows in the order of the data set."""

    ref: DatasetRef
    annotation: Path
    root: Path
    rows: list[Row] = field(default_factory=list)
    listen: Listener | None = None  # is told of every finding

    def __post_init__(self) -> None:
        self.findings = Collector(where=self.ref.annotation_key, file=str(self.annotation), listen=self.listen)
        self.homes = homes(self.root)

    def facts(self, sha256: str, progress: Progress | None, *, encoders: tuple[Encoder, ...] = ()) -> DatasetFacts:
        """Open every clip's header, and freeze what was collected."""
        if not self.rows:
            self.findings.add(NO_CLIPS, "0 clips", "at least one", at=At())
        unique = list(dict.fromkeys(str(row.file) for row in self.rows))
        files: list[tuple[str, MediaKind]] = [(name, "video") for name in unique]
        opened = part_of(progress, f"{self.ref.label} clips")
        results = probe_media(files, where=self.ref.media_key, cache=cache_path(), progress=opened)
        media = tuple(result if isinstance(result, MediaHeader) else None for result in results)
        index = {name: number for number, name in enumerate(unique)}
        for number, row in enumerate(self.rows):
            result = results[index[str(row.file)]]
            if isinstance(result, MediaHeader):
                self._ends(number, row, result)
            elif row.file != self.root:  # a record whose path was refused has none
                self.findings.add(BROKEN, result.saw, result.want, at=At(number, file=str(row.file)))
        judge_repeats(self.rows, media, [index[str(row.file)] for row in self.rows], self.findings)
        columns = self._columns(index, media)
        found = self.findings.findings()
        return DatasetFacts(
            self.ref.label, self.annotation, self.root, sha256, columns, media, found, windows=self._windows(encoders)
        )

    def _ends(self, number: int, row: Row, header: MediaHeader) -> None:
        """Compare windows with the frames that there are; one frame more is the end as others count it."""
        last = [window.last for window, _, _ in row.windows]
        far = {place: end for place, end in enumerate(last) if header.num_frames < end < TO_THE_END}
        if far:
            end, at = header.num_frames - 1, At(number, file=str(row.file))
            saw = f"end_frame {max(far.values())}, and the clip has {header.num_frames} frames"
            patch: dict[str, JsonValue] = {f"t2w_windows/{place}/end_frame": end for place in far}
            # Windows that were refused are not among the rows': their places would be others.
            fix = f"end it at {end}" if row.usable else None
            self.findings.add(BEYOND, saw, f"at most {end}", at=at, fix=fix, patch=patch if fix else None)

    def _columns(self, index: dict[str, int], media: tuple[MediaHeader | None, ...]) -> RecordColumns:
        count, rows = len(self.rows), self.rows
        numbers = [index[str(row.file)] for row in rows]
        text = [max((size for _, size, _ in row.windows), default=0) for row in rows]
        return RecordColumns(
            offset=np.array([row.offset for row in rows], np.int64),
            size=np.array([row.size for row in rows], np.int32),
            text_bytes=np.array(text, np.int32),
            answer_bytes=np.zeros(count, np.int32),
            num_turns=np.zeros(count, np.int32),
            media_start=np.arange(count + 1, dtype=np.int32),
            media_index=np.array(numbers, np.int32),
            usable=np.array(
                [row.usable and media[at] is not None for row, at in zip(rows, numbers, strict=True)], bool
            ),
        )

    def _windows(self, encoders: tuple[Encoder, ...]) -> WindowColumns:
        every = [item for row in self.rows for item in row.windows]
        return WindowColumns(
            start=np.cumsum([0, *(len(row.windows) for row in self.rows)]).astype(np.int32),
            first=np.array([window.first for window, _, _ in every], np.int32),
            last=np.array([window.last for window, _, _ in every], np.int32),
            interval=np.array([window.interval for window, _, _ in every], np.int32),
            caption_bytes=np.array([size for _, size, _ in every], np.int32),
            structured=np.array([is_json for _, _, is_json in every], bool),
            embedded=np.array([row.embedded for row in self.rows], bool),
            encoders=encoders,
        )
