"""The ledger: for every record of a data set, where it lies in the file, how many tokens it has and how many count.

Made before launch from metadata alone, without decoding, and read by every rank: the weight of an optimizer step
over all ranks is then known as an integer, with no communication.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tao_runtime.data.facts import DatasetFacts, VisionGeometry
from tao_runtime.data.families import PromptOptions, Tokenizer, dry_family, tokenize
from tao_runtime.data.flops import ForwardFlops
from tao_runtime.data.records import read_record
from tao_runtime.data.vision import SamplingPlan, lay_out
from tao_runtime.plan.batches import record_indices
from tao_runtime.plan.model import DatasetPlan

COLUMNS = ("record", "offset", "size", "length", "weight", "flops")


@dataclass(frozen=True, slots=True)
class SampleRules:
    """What decides how a record of a data set becomes tokens."""

    family: str
    sampling: SamplingPlan
    geometry: VisionGeometry
    prompt: PromptOptions
    max_length: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """Columns over the records that will be used, in file order. N records."""

    annotation: Path
    media_root: Path
    record: npt.NDArray[np.int64]  # [N] index in the annotation file
    offset: npt.NDArray[np.int64]  # [N] byte offset in the annotation file
    size: npt.NDArray[np.int64]  # [N] bytes in the annotation file
    length: npt.NDArray[np.int64]  # [N] tokens
    weight: npt.NDArray[np.int64]  # [N] supervised tokens that are predicted
    flops: npt.NDArray[np.float64]  # [N] arithmetic of a forward pass; 0: not known
    too_long: npt.NDArray[np.int64]  # indices in the annotation file of records dropped as longer than max_length
    format: str = "llava"  # how the data set is laid out

    def __len__(self) -> int:
        return len(self.record)

    def read(self, position: int) -> Mapping[str, object]:
        """Read the record at a position of the ledger from the annotation file."""
        return read_record(self.format, self.annotation, int(self.offset[position]), int(self.size[position]))

    def save(self, path: Path) -> None:
        """Write to `path` (.npz, no pickles), whole or not at all."""
        names = np.array([str(self.annotation), str(self.media_root), self.format])
        temporary = path.with_suffix(".tmp.npz")
        np.savez(
            temporary,
            names=names,
            record=self.record,
            offset=self.offset,
            size=self.size,
            length=self.length,
            weight=self.weight,
            flops=self.flops,
            too_long=self.too_long,
        )
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Ledger:
        with np.load(path, allow_pickle=False) as data:
            annotation, media_root, layout = (str(name) for name in data["names"])
            columns = {name: data[name] for name in (*COLUMNS, "too_long")}
        return cls(Path(annotation), Path(media_root), **columns, format=layout)


def make_ledger(
    dataset: DatasetPlan,
    facts: DatasetFacts,
    rules: SampleRules,
    tokenizer: Tokenizer,
    *,
    flops: ForwardFlops | None = None,
    on_record: Callable[[], None] = lambda: None,
) -> Ledger:
    """Measure every record of a data set. Reads the annotation file again; decodes nothing."""
    dry = dry_family(rules.family)
    columns, indices = facts.columns, record_indices(facts.num_records, dataset.exclude, dataset.only)
    empty = np.zeros(len(indices), np.int64)
    ledger = Ledger(
        Path(dataset.annotation),
        Path(dataset.media_root),
        indices,
        columns.offset[indices],
        columns.size[indices].astype(np.int64),
        empty.copy(),
        empty.copy(),
        np.zeros(len(indices)),
        empty[:0],
        dataset.format,
    )
    for position, index in enumerate(indices.tolist()):
        headers = [facts.media[medium] for medium in columns.media_of(index)]
        layouts = [lay_out(header, rules.sampling, rules.geometry) for header in headers if header is not None]
        turns = dry.read_turns(ledger.read(position), rules.prompt.conversation_key)
        tokens = tokenize(dry.render(turns, layouts, rules.prompt), tokenizer)
        ledger.length[position], ledger.weight[position] = len(tokens), tokens.weight
        if flops is not None:
            ledger.flops[position] = flops(len(tokens), tokens.weight, layouts)
        on_record()
    fits = ledger.length <= rules.max_length
    columns_kept = {name: getattr(ledger, name)[fits] for name in COLUMNS}
    return replace(ledger, **columns_kept, too_long=indices[~fits])
