"""How long the samples of a data set are, before a text is tokenised: bounds from columns and headers, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tao_runtime.data.facts import DatasetFacts, VisionGeometry
from tao_runtime.data.video_chat import STEP_OVERHEAD, TURN_OVERHEAD
from tao_runtime.data.vision import MediaLayout, SamplingPlan, lay_out

SINGLE: Final = 3  # turns of one question: system, human, gpt
TURN_LEAST, STEP_LEAST = 2, 2  # tokens that nothing can remove: the marks of a turn, and of a temporal step

Lengths = npt.NDArray[np.int64]


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
    p50, p99 = np.quantile(used, (0.5, 0.99), method="higher").tolist()
    return LengthSummary(int(p50), int(p99), int(used.max()), int(np.argmax(lengths)))


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
    visual, steps, media = (
        _over_media(dataset, [measure(layout) if layout else 0 for layout in layouts])
        for measure in (_visual, _steps, _one)
    )
    turns = columns.num_turns.astype(np.int64)
    lower = visual + STEP_LEAST * steps + TURN_LEAST * turns
    if generate:  # what stands after the first answer is not in the prompt
        lower = np.where(turns > SINGLE, 0, lower - TURN_LEAST)
    text = columns.text_bytes.astype(np.int64) + len(system_prompt.encode())
    upper = visual + text + (turns + bool(system_prompt)) * TURN_OVERHEAD + steps * STEP_OVERHEAD + 2 * media
    return np.where(columns.usable, lower, 0), np.where(columns.usable, upper, 0)


def _visual(layout: MediaLayout) -> int:
    return layout.num_tokens


def _steps(layout: MediaLayout) -> int:
    return layout.grid_thw[0]


def _one(layout: MediaLayout) -> int:
    return 1


def _over_media(dataset: DatasetFacts, per_media: Sequence[int]) -> Lengths:
    """Sum a number of each medium over the media of each record."""
    columns = dataset.columns
    total = np.zeros(len(columns.media_index) + 1, np.int64)
    np.cumsum(np.array(per_media or [0], np.int64)[columns.media_index], out=total[1:])
    return total[columns.media_start[1:]] - total[columns.media_start[:-1]]
