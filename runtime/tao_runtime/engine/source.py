"""What the training loop asks of a data set, whatever a sample is: columns to plan with, samples, micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tao_runtime.engine.families import Batch

VALIDATION_STEP = 0  # noise, windows and dropped text of held-out samples are the same each time


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample that could not be loaded, and why."""

    record: int
    reason: str


@dataclass(frozen=True, slots=True)
class Request:
    """The samples of a micro-batch, and the step they are for: what chance decides depends on both."""

    step: int  # 0-based optimizer step
    positions: Sequence[int]  # in the ledger; none: this rank has nothing to train on


class SampleLedger(Protocol):
    """What is known of every sample before it is loaded. N samples."""

    @property
    def record(self) -> npt.NDArray[np.int64]: ...  # [N] index in the data set

    @property
    def length(self) -> npt.NDArray[np.int64]: ...  # [N] tokens

    @property
    def weight(self) -> npt.NDArray[np.int64]: ...  # [N] what its loss is divided by

    @property
    def flops(self) -> npt.NDArray[np.float64]: ...  # [N] of a forward pass; 0: not known

    def __len__(self) -> int: ...


class CacheCounts(Protocol):
    """How often something was there already."""

    hits: int
    misses: int


class Source(Protocol):
    """A data set, as a family opens it."""

    @property
    def ledger(self) -> SampleLedger: ...

    @property
    def cache(self) -> CacheCounts: ...

    def load(self, position: int, step: int) -> Any | BadSample:
        """Return the sample at a position as optimizer step `step` sees it. Thread-safe."""

    def collate(self, items: Sequence[Any]) -> Batch:
        """Return a micro-batch for the family's loss; an empty sequence gives one that trains on nothing."""
