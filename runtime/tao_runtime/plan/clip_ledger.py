"""The ledger of a data set of clips: one row per sample of an epoch, with what is needed to cut it out again.

Made before launch by the predicate that counted the samples of the plan (`data/clips.py`), so that both agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tao_runtime.data.clips import Clip, ClipRules, Window, decide
from tao_runtime.data.facts import DatasetFacts, MediaHeader
from tao_runtime.plan.batches import record_indices
from tao_runtime.plan.clip_data import windows_and_samples
from tao_runtime.plan.clip_time import SampleFlops
from tao_runtime.plan.model import DatasetPlan

# [N] samples
COLUMNS = ("record", "offset", "size", "height", "width", "num_frames", "fps", "length", "weight", "flops")
# [W] windows a sample is drawn from; `number`: which one of its record
WINDOWS = ("first", "last", "interval", "number")


@dataclass(frozen=True, slots=True)
class ClipLedger:
    """Columns over the samples of an epoch. N samples, W windows (CSR)."""

    annotation: Path
    format: str
    file: npt.NDArray[np.str_]  # [N] the clip
    record: npt.NDArray[np.int64]  # [N] index in the data set
    offset: npt.NDArray[np.int64]  # [N] where its record lies, as the reader of the format takes it
    size: npt.NDArray[np.int64]  # [N]
    height: npt.NDArray[np.int64]  # [N] pixels of the file
    width: npt.NDArray[np.int64]  # [N]
    num_frames: npt.NDArray[np.int64]  # [N] frames of the file
    fps: npt.NDArray[np.float64]  # [N] of the file
    length: npt.NDArray[np.int64]  # [N] tokens of the clip, of its longest window
    weight: npt.NDArray[np.int64]  # [N] 1: the loss is a mean over samples
    flops: npt.NDArray[np.float64]  # [N] arithmetic of a forward pass; 0: not known
    start: npt.NDArray[np.int64]  # [N + 1] into the windows
    first: npt.NDArray[np.int64]  # [W] frame
    last: npt.NDArray[np.int64]  # [W] frame, inclusive
    interval: npt.NDArray[np.int64]  # [W]
    number: npt.NDArray[np.int64]  # [W]

    def __len__(self) -> int:
        return len(self.record)

    def cut(self, position: int, rules: ClipRules, *, window: float = 0.0, start: float = 0.0) -> tuple[Clip, int]:
        """Return the clip of a sample and its window's number in the record; draws in [0, 1) choose among several."""
        low, high = int(self.start[position]), int(self.start[position + 1])
        chosen = low + min(int(window * (high - low)), high - low - 1)
        found = Window(int(self.first[chosen]), int(self.last[chosen]), int(self.interval[chosen]))
        clip = decide(self._header(position), found, rules, draw=start)
        assert isinstance(clip, Clip), "only windows that give a sample are in the ledger"
        return clip, int(self.number[chosen])

    def _header(self, position: int) -> MediaHeader:
        width, height, count = (int(column[position]) for column in (self.width, self.height, self.num_frames))
        return MediaHeader(
            Path(str(self.file[position])), "video", width, height, count, float(self.fps[position]), "", 0
        )

    def save(self, path: Path) -> None:
        """Write to `path` (.npz, no pickles), whole or not at all."""
        temporary = path.with_suffix(".tmp.npz")
        columns = {name: getattr(self, name) for name in (*COLUMNS, "start", *WINDOWS)}
        names = np.array([str(self.annotation), self.format])
        np.savez(temporary, names=names, clips=self.file, **columns)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> ClipLedger:
        with np.load(path, allow_pickle=False) as data:
            annotation, layout = (str(name) for name in data["names"])
            columns = {name: data[name] for name in (*COLUMNS, "start", *WINDOWS)}
            return cls(Path(annotation), layout, file=data["clips"], **columns)


def make_clip_ledger(
    dataset: DatasetPlan, facts: DatasetFacts, rules: ClipRules, *, flops: SampleFlops | None = None
) -> ClipLedger:
    """Return a row per sample: for each window or start of a clip, or one for all windows, of which one is drawn."""
    rows: list[tuple[int, MediaHeader, list[tuple[Window, int]], int]] = []  # record, header, windows, tokens
    for record in record_indices(facts.num_records, dataset.exclude, dataset.only).tolist():
        (index,) = facts.columns.media_of(record)
        header = facts.media[index]
        assert header is not None, "usable"
        found = [
            (window, 0 if rules.unit == "start" else number, clip.tokens)
            for number, (window, clip) in enumerate(windows_and_samples(facts, record, rules))
            if isinstance(clip, Clip)
        ]
        groups = [found] if rules.unit == "clip" else [[each] for each in found]
        for group in groups:
            windows = [(window, number) for window, number, _ in group]
            rows.append((record, header, windows, max(tokens for _, _, tokens in group)))
    assert len(rows) == dataset.num_records, "the plan counted with the same predicate"
    ledger = _columns(dataset, facts, rows)
    if flops is None:
        return ledger
    counted = [flops(record, tokens) for record, _, _, tokens in rows]
    return replace(ledger, flops=np.array(counted, np.float64))


def _columns(
    dataset: DatasetPlan, facts: DatasetFacts, rows: list[tuple[int, MediaHeader, list[tuple[Window, int]], int]]
) -> ClipLedger:
    headers = [header for _, header, _, _ in rows]
    windows = [each for _, _, found, _ in rows for each in found]
    record = np.array([each for each, _, _, _ in rows], np.int64)
    return ClipLedger(
        annotation=Path(dataset.annotation),
        format=dataset.format,
        file=np.array([str(header.path) for header in headers], np.str_),
        record=record,
        offset=facts.columns.offset[record],
        size=facts.columns.size[record].astype(np.int64),
        height=np.array([header.height for header in headers], np.int64),
        width=np.array([header.width for header in headers], np.int64),
        num_frames=np.array([header.num_frames for header in headers], np.int64),
        fps=np.array([header.fps for header in headers], np.float64),
        length=np.array([tokens for _, _, _, tokens in rows], np.int64),
        weight=np.ones(len(rows), np.int64),
        flops=np.zeros(len(rows)),
        start=np.cumsum([0, *(len(found) for _, _, found, _ in rows)]).astype(np.int64),
        first=np.array([window.first for window, _ in windows], np.int64),
        last=np.array([window.last for window, _ in windows], np.int64),
        interval=np.array([window.interval for window, _ in windows], np.int64),
        number=np.array([number for _, number in windows], np.int64),
    )
