"""Captions: is each as short as the text that the network, or its encoder, takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tao_runtime.data.facts import DatasetFacts, Facts
from tao_runtime.data.snapshot import tokenizer_folder
from tao_runtime.errors import Severity
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.structured import VIDEO
from tao_runtime.preflight.rules.structured.video import table_of
from tao_runtime.preflight.tokenizer import read_tokenizer

JOINT: Final = "text_tokenizer"  # folder of a pipeline whose network reads the prompt itself
SHOWN: Final = 5  # longest captions named
COUNTED: Final = 100_000  # captions that are tokenised; the longest first
BATCH: Final = 1024
ROOM: Final = 64  # tokens said around a caption that the network reads: chat marks, length, size


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the clips of a data set lie, as its records are read again."""

    annotation: Path
    format: str
    file: npt.NDArray[np.str_]
    offset: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]


def _captions(data: DatasetFacts, layout: str, windows: Sequence[int]) -> Iterator[str]:
    """Yield the captions of some windows."""
    from tao_runtime.data.records import read_caption  # noqa: PLC0415 - pyarrow, which most checks do without

    assert data.windows is not None
    columns = data.columns
    files = np.array([str(header.path) if header else "" for header in data.media], np.str_)[columns.media_index]
    place = _Place(data.annotation, layout, files, columns.offset, columns.size.astype(np.int64))
    for window in windows:
        record = _record_of(data, window)
        yield read_caption(place, record, window - int(data.windows.start[record])).caption


def _record_of(data: DatasetFacts, window: int) -> int:
    assert data.windows is not None
    return int(np.searchsorted(data.windows.start, window, side="right")) - 1


@rule(
    "video/caption-length",
    "warning",
    families=VIDEO,
    actions=("train",),
    source="upstream cuts a longer caption off, JSON in the middle; a limit of the spec's own is refused mid-run",
)
def caption_length(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """No caption is longer than the limit: counted by the tokenizer, or without one by its bytes, which are more."""
    data = facts.datasets.get("train")
    if data is None or data.windows is None or plan.diffusion is None:
        return
    text, windows = plan.diffusion.text, data.windows
    if text.max_tokens is None:
        return
    usable = np.repeat(data.columns.usable, np.diff(windows.start))
    embedded = np.repeat(windows.embedded, np.diff(windows.start)) & (text.kind == "t5")
    room = text.max_tokens - (ROOM if spec.packs else 0)
    over = np.flatnonzero((windows.caption_bytes > room) & usable & ~embedded)
    if not len(over):
        return
    over = over[np.argsort(-windows.caption_bytes[over], kind="stable")]
    where = f"{table_of(spec)}.{'max_caption_tokens' if spec.packs else 'dataset_dir'}"
    tokenizer = read_tokenizer(folder) if (folder := _tokenizer_of(facts, joint=text.kind != "t5")) else None
    if tokenizer is None:
        longest = int(windows.caption_bytes[over[0]])
        saw = (
            f"{len(over):,} captions may be longer than {text.max_tokens:,} tokens (up to {longest:,}, by their bytes)"
        )
        yield Problem(where, saw, "shorter captions", file=str(data.annotation), record=_record_of(data, int(over[0])))
        return
    counts = _count(data, plan.data.train.format, over[:COUNTED].tolist(), tokenizer)
    # A limit of the spec is kept by refusing a longer caption in the run; an encoder's own cuts it off.
    severity: Severity = "error" if spec.packs else "warning"
    fix, patch = "shorten it", None
    if spec.packs and len(counts):
        need = -(-(int(counts.max()) + ROOM) // 64) * 64
        fix, patch = f"set it to {need}, or shorten the caption", {where: need}
    long = np.flatnonzero(counts > text.max_tokens)
    for rank, at in enumerate(long[np.argsort(-counts[long], kind="stable")][:SHOWN].tolist()):
        saw = f"a caption of {int(counts[at]):,} tokens" + (f", the longest of {len(long):,}" if not rank else "")
        want, record = f"at most {text.max_tokens:,}", _record_of(data, int(over[at]))
        yield Problem(where, saw, want, fix, patch, record, str(data.annotation), severity)
    if spec.packs and not len(long) and (near := int((counts > room).sum())):
        saw = f"{near:,} captions of up to {int(counts.max()):,} tokens, and up to {ROOM} more are said around each"
        yield Problem(where, saw, f"at most {text.max_tokens:,} in all", fix, patch, file=str(data.annotation))


def _tokenizer_of(facts: Facts, *, joint: bool) -> Path | None:
    model = facts.models.get("model" if joint else "text_encoder")
    if model is None or model.directory is None:
        return None
    return model.directory / JOINT if joint else tokenizer_folder(model.directory)


def _count(data: DatasetFacts, layout: str, windows: list[int], tokenizer: Any) -> npt.NDArray[np.int64]:
    """Return the tokens of captions, without what is said around them."""
    sizes: list[int] = []
    for start in range(0, len(windows), BATCH):
        texts = list(_captions(data, layout, windows[start : start + BATCH]))
        sizes += [len(one) for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    return np.array(sizes, np.int64)
