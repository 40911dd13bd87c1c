"""How long the samples of a data set are, before a text is tokenised: bounds from columns and headers, as arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tao_runtime.data.facts import DatasetFacts, RecordColumns, VisionGeometry
from tao_runtime.data.video_chat import STEP_OVERHEAD, TURN_OVERHEAD
from tao_runtime.data.vision import MediaLayout, SamplingPlan, lay_out

SINGLE: Final = 3  # turns of one question: system, human, gpt
TURN_LEAST, STEP_LEAST = 2, 2  # tokens that nothing can remove: the marks of a turn, and of a temporal step

BLOCK: Final = 1 << 16  # records at a time: what lies between columns and bounds would take more than both
MOST: Final = np.iinfo(np.int32).max

Lengths = npt.NDArray[np.int32]  # a record of more tokens has MOST


@dataclass(frozen=True, slots=True)
class LengthSummary:
    """How the lengths of the usable samples of a data set are spread, in tokens. None: there is none."""

    p50: int | None = None
    p99: int | None = None
    longest: int | None = None
    record: int | None = None  # of the longest


def summarise(lengths: Lengths) -> LengthSummary:
    """Return the spread of lengths by record; a record of length 0 is not usable."""
    used = lengths[lengths > 0]
    if not len(used):
        return LengthSummary()
    p50, p99 = (math.ceil(share * (len(used) - 1)) for share in (0.5, 0.99))
    used.partition((p50, p99))
    return LengthSummary(int(used[p50]), int(used[p99]), int(lengths.max()), int(np.argmax(lengths)))


def token_bounds(
    dataset: DatasetFacts,
    sampling: SamplingPlan,
    geometry: VisionGeometry,
    *,
    system_prompt: str = "",
    generate: bool = False,
) -> tuple[Lengths, Lengths]:
    """Return lower and upper bound of the tokens of every record [N]; 0 where it is not usable.

    Byte-level BPE never makes more tokens than there are UTF-8 bytes. Media that could not be probed count 0.
    generate: only the prompt counts, up to the first answer.
    """
    columns = dataset.columns
    layouts = [lay_out(header, sampling, geometry) if header else None for header in dataset.media]
    per_media = [
        np.array([measure(layout) if layout else 0 for layout in layouts] or [0], np.int64)
        for measure in (_visual, _steps, _one)
    ]
    lower, upper = np.zeros(len(columns), np.int32), np.zeros(len(columns), np.int32)
    for start in range(0, len(columns), BLOCK):
        block = slice(start, start + BLOCK)
        visual, steps, media = (_over_media(columns, block, each) for each in per_media)
        turns = columns.num_turns[block].astype(np.int64)
        least = visual + STEP_LEAST * steps + TURN_LEAST * turns
        if generate:  # what stands after the first answer is not in the prompt
            least = np.where(turns > SINGLE, 0, least - TURN_LEAST)
        text = columns.text_bytes[block].astype(np.int64) + len(system_prompt.encode())
        most = visual + text + (turns + bool(system_prompt)) * TURN_OVERHEAD + steps * STEP_OVERHEAD + 2 * media
        for out, bound in ((lower, least), (upper, most)):
            out[block] = np.where(columns.usable[block], np.minimum(bound, MOST), 0)
    return lower, upper


def _visual(layout: MediaLayout) -> int:
    return layout.num_tokens


def _steps(layout: MediaLayout) -> int:
    return layout.grid_thw[0]


def _one(layout: MediaLayout) -> int:
    return 1


def _over_media(columns: RecordColumns, block: slice, per_media: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sum a number of each medium over the media of each record of a block."""
    edges = columns.media_start[block.start : block.stop + 1]
    total = np.zeros(edges[-1] - edges[0] + 1, np.int64)
    np.cumsum(per_media[columns.media_index[edges[0] : edges[-1]]], out=total[1:])
    sums: npt.NDArray[np.int64] = np.diff(total[edges - edges[0]])
    return sums
