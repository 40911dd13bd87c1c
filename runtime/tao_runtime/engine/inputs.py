"""What a worker reads from its run directory: the plan, the ledgers, the snapshot; and how samples come out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from tao_runtime.data.facts import VisionGeometry
from tao_runtime.data.families import PromptOptions
from tao_runtime.engine.families import Batch, WetFamily
from tao_runtime.engine.frames import FrameCache
from tao_runtime.engine.load_ahead import load_ahead
from tao_runtime.engine.run_dir import LEDGER
from tao_runtime.engine.samples import BadSample, Item, SampleSource
from tao_runtime.errors import RunError
from tao_runtime.plan.ledger import Ledger, SampleRules
from tao_runtime.plan.model import LoadingPlan, TrainPlan


def sample_rules(plan: TrainPlan, geometry: VisionGeometry, *, response_mode: str) -> SampleRules:
    """Return how a training plan turns records into tokens."""
    prompt = PromptOptions(plan.data.prompt_format, plan.data.system_prompt, plan.data.conversation_key, response_mode)
    return SampleRules(plan.family, plan.data.sampling, geometry, prompt, plan.model.max_length)


def open_source(run_dir: Path, label: str, rules: SampleRules, *, tokenizer: Path, cache_bytes: int) -> SampleSource:
    """Open a data set of a run directory through its ledger."""
    ledger = Ledger.load(run_dir / LEDGER.format(label=label))
    return SampleSource(ledger, rules, Tokenizer.from_file(str(tokenizer)), FrameCache(cache_bytes))


class BadSampleBudget:
    """Counts samples that could not be loaded; over the budget, the run stops."""

    def __init__(self, budget: int, *, tell: Callable[[BadSample], None] = lambda sample: None) -> None:
        self.budget = budget
        self.tell = tell
        self.seen: list[BadSample] = []

    def keep_good(self, samples: Iterable[Item | BadSample]) -> list[Item]:
        """Return the samples that loaded.

        Raises:
            RunError: more than the budget did not; the latest is named.
        """
        good = []
        for sample in samples:
            if isinstance(sample, Item):
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
    family: WetFamily,
    source: SampleSource,
    batches: Iterable[Sequence[int]],
    *,
    budget: BadSampleBudget,
    loading: LoadingPlan,
) -> Iterator[MicroBatch]:
    """Yield the collated micro-batches of `batches`, loading ahead and leaving bad samples out."""
    loaded = load_ahead(
        source.load,
        batches,
        num_threads=loading.num_workers,
        depth=max(1, loading.num_workers * loading.prefetch_factor),
        timeout_s=loading.timeout_s,
        name=lambda position: int(source.ledger.record[position]),
    )
    for positions, samples in loaded:
        lost = sum(
            int(source.ledger.weight[position])
            for position, sample in zip(positions, samples, strict=True)
            if isinstance(sample, BadSample)
        )
        yield MicroBatch(family.collate(budget.keep_good(samples), source.rules.geometry), lost)


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
