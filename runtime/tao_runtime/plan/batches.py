"""Which records make up an optimizer step: a pure function of (plan, step), the same on every rank and world size."""

from __future__ import annotations

import bisect
import heapq
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tao_runtime.plan.model import TrainPlan

Indices = npt.NDArray[np.int64]


def record_indices(num_in_file: int, exclude: tuple[int, ...], only: tuple[int, ...] | None) -> Indices:
    """Return the indices into the annotation file of the records that make up a data set, ascending."""
    if only is not None:
        return np.asarray(only, dtype=np.int64)
    keep = np.ones(num_in_file, dtype=bool)
    keep[list(exclude)] = False
    return np.flatnonzero(keep).astype(np.int64)


@lru_cache(maxsize=4)
def epoch_order(num_records: int, *, seed: int, epoch: int, shuffle: bool) -> Indices:
    """Return the order in which an epoch visits its records. Depends on nothing but its arguments."""
    if not shuffle:
        return np.arange(num_records)
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(num_records)


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The records of one optimizer step, as positions in the data set's record list."""

    step: int
    epoch: int
    records: Indices  # the whole global batch, in plan order
    packs: tuple[Indices, ...] | None = None  # where the plan fills micro-batches by tokens: what is in each

    def micro_batches(
        self, lengths: Indices, *, rank: int, data_parallel: int, micro: int, micro_tokens: int | None = None
    ) -> list[Indices]:
        """Return this rank's micro-batches. Every rank gets as many; some are empty.

        `lengths` holds the tokens of every record of the data set: they are balanced, as ranks wait for the slowest.
        A micro-batch holds at most `micro` records, or, where `micro_tokens` is given, at most so many tokens.
        """
        if self.packs is not None:
            count = -(-len(self.packs) // data_parallel)
            nothing = self.records[:0]
            padded = [*self.packs, *[nothing] * (count * data_parallel - len(self.packs))]
            return [padded[number * data_parallel + rank] for number in range(count)]
        tokens = lengths[self.records]
        if micro_tokens is None:
            count = -(-len(self.records) // (data_parallel * micro))
            bins = balance(tokens, num_bins=count * data_parallel, capacity=micro)
        else:
            bins = pack(tokens, capacity_tokens=micro_tokens, multiple=data_parallel)
            count = len(bins) // data_parallel
        # Ranks walk through their micro-batches in step: bins of like size are taken at the same time.
        return [self.records[bins[number * data_parallel + rank]] for number in range(count)]


def balance(lengths: Indices, *, num_bins: int, capacity: int) -> list[Indices]:
    """Return positions in `num_bins` bins of at most `capacity`, fullest bin first: longest first, to the emptiest bin.

    LPT: no bin exceeds 4/3 of the best possible maximum (Graham 1969; without the limit on the number per bin).
    """
    bins: list[list[int]] = [[] for _ in range(num_bins)]
    heap = [(0, number) for number in range(num_bins)]
    totals = [0] * num_bins
    for position in np.argsort(-lengths, kind="stable").tolist():
        total, number = heapq.heappop(heap)
        bins[number].append(position)
        totals[number] = total + int(lengths[position])
        if len(bins[number]) < capacity:
            heapq.heappush(heap, (totals[number], number))
    order = sorted(range(num_bins), key=lambda number: (-totals[number], number))
    return [np.sort(np.asarray(bins[number], dtype=np.int64)) for number in order]


def pack(lengths: Indices, *, capacity_tokens: int, multiple: int) -> list[Indices]:
    """Return positions in as few bins as best fit finds, a multiple of `multiple`, none over `capacity_tokens`.

    Best fit says how many; then the samples are spread evenly over so many bins if that keeps to the capacity: ranks
    wait for the slowest, not for the number of bins.
    """
    bins = best_fit(lengths, capacity_tokens=capacity_tokens)
    bins += [np.zeros(0, np.int64) for _ in range(-len(bins) % multiple)]
    even = balance(lengths, num_bins=len(bins), capacity=max(len(lengths), 1)) if bins else []
    if all(len(each) <= 1 or int(lengths[each].sum()) <= capacity_tokens for each in even):
        return even
    return sorted(bins, key=lambda each: -int(lengths[each].sum()))


def best_fit(lengths: Indices, *, capacity_tokens: int, max_samples: int | None = None) -> list[Indices]:
    """Return positions in bins, none over `capacity_tokens` or `max_samples`: longest first, to the fullest that fits.

    At most 11/9 of the fewest possible bins, and one (Johnson 1973; without a limit on samples). A sample that is
    longer than the capacity has a bin of its own.
    """
    room: list[int] = []  # ascending
    bins: list[list[int]] = []
    by_room: list[int] = []  # bin of each entry of `room`
    for position in np.argsort(-lengths, kind="stable").tolist():
        need = int(lengths[position])
        place = bisect.bisect_left(room, need)
        if place == len(room):
            bins.append([])
            left, number = max(capacity_tokens - need, 0), len(bins) - 1
        else:
            left, number = room.pop(place) - need, by_room.pop(place)
        bins[number].append(position)
        if max_samples is None or len(bins[number]) < max_samples:
            place = bisect.bisect_left(room, left)
            room.insert(place, left)
            by_room.insert(place, number)
    return [np.sort(np.asarray(each, dtype=np.int64)) for each in bins]


def num_packs(lengths: npt.NDArray[np.int32] | Indices, capacity_tokens: int, *, most: int | None, enough: int) -> int:
    """Return the packs that samples fill: exactly where they are few, at least so many from `enough` on."""
    least = max(int(lengths.sum()) // capacity_tokens, len(lengths) // most if most else 0)
    if least >= enough:
        return least
    return len(best_fit(lengths.astype(np.int64), capacity_tokens=capacity_tokens, max_samples=most))


def step_batch(plan: TrainPlan, num_records: int, step: int) -> StepBatch:
    """Return what optimizer step `step` (from 0) trains on."""
    per_epoch, size = plan.steps.per_epoch, plan.batch.global_batch
    assert per_epoch and size, "the plan passed preflight"
    epoch, position = divmod(step, per_epoch)
    order = epoch_order(num_records, seed=plan.batch.seed, epoch=epoch, shuffle=plan.batch.shuffle)
    return StepBatch(step, epoch, order[position * size : (position + 1) * size])


class StepBatches:
    """What every optimizer step of a plan trains on, whatever a step is counted in: samples, or packs of tokens."""

    def __init__(self, plan: TrainPlan, lengths: Indices) -> None:
        """`lengths`: the tokens of every record of the data set."""
        self.plan = plan
        self.lengths = lengths
        self._epochs: list[tuple[int, list[Indices]]] = []  # (first step, packs) of the epochs so far

    def step(self, step: int) -> StepBatch:
        """Return what optimizer step `step` (from 0) trains on."""
        if self.plan.batch.pack_tokens is None:
            return step_batch(self.plan, len(self.lengths), step)
        size = self._packs_per_step
        while not self._epochs or step >= self._epochs[-1][0] + len(self._epochs[-1][1]) // size:
            self._add_epoch(size)
        epoch, (first, packs) = next(
            (number, each) for number, each in reversed(list(enumerate(self._epochs))) if each[0] <= step
        )
        chosen = packs[(step - first) * size : (step - first + 1) * size]
        # Ranks take packs side by side: those of like size at the same time.
        chosen.sort(key=lambda each: -int(self.lengths[each].sum()))
        return StepBatch(step, epoch, np.concatenate(chosen), tuple(chosen))

    @property
    def _packs_per_step(self) -> int:
        batch = self.plan.batch
        assert batch.accumulation and batch.data_parallel, "the plan passed preflight"
        return batch.accumulation * batch.data_parallel

    def _add_epoch(self, size: int) -> None:
        """Pack one more epoch; the packs that do not fill a step are left out, other ones each time."""
        batch, number = self.plan.batch, len(self._epochs)
        assert batch.pack_tokens
        packs = best_fit(self.lengths, capacity_tokens=batch.pack_tokens, max_samples=batch.max_samples)
        while len(packs) < size:  # fewer than a step takes: the same data again, as a longer epoch
            packs = packs * 2
        if batch.shuffle:
            order = np.random.Generator(np.random.PCG64([batch.seed, number])).permutation(len(packs))
            packs = [packs[place] for place in order]
        first = self._epochs[-1][0] + len(self._epochs[-1][1]) // size if self._epochs else 0
        self._epochs.append((first, packs))


def num_steps(num_records: int, global_batch: int, *, drop_last: bool) -> int:
    """Return optimizer steps per epoch. 100 records in batches of 32: 3 with drop_last, else 4."""
    return num_records // global_batch if drop_last else -(-num_records // global_batch)
