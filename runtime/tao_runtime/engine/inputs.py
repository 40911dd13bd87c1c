"""How a source's samples become micro-batches on a device: loaded ahead, bad ones left out, sent beside computing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from tao_runtime.engine.families import Batch
from tao_runtime.engine.load_ahead import in_background, load_ahead
from tao_runtime.engine.source import BadSample, Request, Source
from tao_runtime.errors import RunError
from tao_runtime.plan.model import LoadingPlan


class BadSampleBudget:
    """Counts samples that could not be loaded; over the budget, the run stops."""

    def __init__(self, budget: int, *, tell: Callable[[BadSample], None] = lambda sample: None) -> None:
        self.budget = budget
        self.tell = tell
        self.seen: list[BadSample] = []

    def keep_good(self, samples: Iterable[Any]) -> list[Any]:
        """Return the samples that loaded.

        Raises:
            RunError: more than the budget did not; the latest is named.
        """
        good = []
        for sample in samples:
            if not isinstance(sample, BadSample):
                good.append(sample)
                continue
            self.seen.append(sample)
            self.tell(sample)
            if len(self.seen) > self.budget:
                raise RunError(
                    f"record {sample.record}: {sample.reason}. {len(self.seen)} bad samples on this rank; the budget "
                    f"(train.bad_sample_budget) is {self.budget}. Fix: replace the file, or raise the budget"
                )
        return good


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A collated micro-batch, and the weight of the samples that it should have held and could not."""

    batch: Batch
    lost: int = 0


def collated(
    source: Source, requests: Iterable[Request], *, budget: BadSampleBudget, loading: LoadingPlan
) -> Iterator[MicroBatch]:
    """Yield the collated micro-batches of `requests`, loading ahead and leaving bad samples out.

    With threads that load, collation happens on one, too: the loop finds its next micro-batch ready.
    """
    micro_batches = _collated(source, requests, budget=budget, loading=loading)
    return in_background(micro_batches) if loading.num_workers else micro_batches


def _collated(
    source: Source, requests: Iterable[Request], *, budget: BadSampleBudget, loading: LoadingPlan
) -> Iterator[MicroBatch]:
    record, weight = source.ledger.record, source.ledger.weight
    loaded = load_ahead(
        lambda key: source.load(*key),
        ([(position, request.step) for position in request.positions] for request in requests),
        num_threads=loading.num_workers,
        depth=max(1, loading.num_workers * loading.prefetch_factor),
        timeout_s=loading.timeout_s,
        name=lambda key: int(record[key[0]]),
    )
    for keys, samples in loaded:
        lost = sum(
            int(weight[position])
            for (position, _), sample in zip(keys, samples, strict=True)
            if isinstance(sample, BadSample)
        )
        yield MicroBatch(source.collate(budget.keep_good(samples)), lost)


def place(batch: Batch, device: torch.device) -> Batch:
    """Return a batch with its tensors on a device; what the host must know stays with the host."""
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def placed(batches: Iterable[MicroBatch], device: torch.device) -> Iterator[MicroBatch]:
    """Yield micro-batches on a device. On a GPU the next travels, from pinned memory, while this one is computed."""
    if device.type != "cuda":
        yield from batches
        return
    stream, ahead = torch.cuda.Stream(device), None
    for micro in batches:
        with torch.cuda.stream(stream):
            sent = replace(micro, batch=_send(micro.batch, device))
            arrived = torch.cuda.Event()
            arrived.record(stream)
        if ahead is not None:
            yield _received(*ahead)
        ahead = sent, arrived
    if ahead is not None:
        yield _received(*ahead)


def _send(batch: Batch, device: torch.device) -> Batch:
    """Start to copy a batch's tensors to a device, on the current stream."""
    return {
        name: value.pin_memory().to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def _received(micro: MicroBatch, arrived: torch.cuda.Event) -> MicroBatch:
    """Let the computing stream wait for the copy, and keep its memory until that stream is done with it."""
    current = torch.cuda.current_stream()
    current.wait_event(arrived)
    for value in micro.batch.values():
        if isinstance(value, torch.Tensor):
            value.record_stream(current)
    return micro
