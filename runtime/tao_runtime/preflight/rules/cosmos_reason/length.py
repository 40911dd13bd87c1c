"""Frames and tokens: does every record fit the length that the spec allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from tao_runtime.data.annotations import RecordReader
from tao_runtime.data.cosmos_reason import read_turns, render
from tao_runtime.data.facts import DatasetFacts, Facts, ModelFacts, VisionGeometry
from tao_runtime.data.families import PromptOptions
from tao_runtime.data.lengths import Lengths, token_bounds
from tao_runtime.data.shorter import shorter
from tao_runtime.data.vision import MediaLayout, SamplingPlan, lay_out
from tao_runtime.plan.model import EvaluatePlan, TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.tokenizer import load_tokenizer
from tao_runtime.spec.cosmos_reason import EvaluateSpec, TrainSpec

SHOWN: Final = 5  # worst records named
TRIED: Final = 16  # of the worst, with fewer frames or pixels
COUNTED: Final = 500_000  # candidates that are tokenised exactly; the longest first
BATCH: Final = 2048  # records whose text is tokenised at a time


@dataclass(frozen=True, slots=True)
class Samples:
    """What decides the length of the samples of one data set."""

    dataset: DatasetFacts
    sampling: SamplingPlan
    geometry: VisionGeometry
    prompt: PromptOptions
    generate: bool = False  # only the prompt counts, up to the first answer
    format: str = "llava"  # how the data set is laid out

    def reader(self) -> Callable[[int], Mapping[str, object]]:
        """Return what reads a record again."""
        if self.format == "llava":
            return RecordReader(self.dataset).__getitem__
        from tao_runtime.data.records import read_record  # noqa: PLC0415 - pyarrow, which most checks do without

        columns, annotation = self.dataset.columns, self.dataset.annotation
        return lambda index: read_record(self.format, annotation, int(columns.offset[index]), int(columns.size[index]))


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a sample may be, and the keys that say so."""

    tokens: int
    key: str
    pixels_key: str
    reserved: int = 0  # tokens kept for the answer

    @property
    def room(self) -> int:
        return self.tokens - self.reserved


def bounds(samples: Samples) -> tuple[Lengths, Lengths]:
    """Return lower and upper bound of the tokens of every record; the upper one is that of `bound_tokens`."""
    return token_bounds(
        samples.dataset,
        samples.sampling,
        samples.geometry,
        system_prompt=samples.prompt.system_prompt,
        generate=samples.generate,
    )


def _layout(samples: Samples, index: int) -> MediaLayout | None:
    header = samples.dataset.media[index]
    return lay_out(header, samples.sampling, samples.geometry) if header else None


def count_tokens(samples: Samples, records: Sequence[int], tokenizer: Any) -> Lengths:
    """Return the exact number of tokens of some records: their text in batches, their media by arithmetic."""
    named = {index for record in records for index in samples.dataset.columns.media_of(record).tolist()}
    layouts = {index: layout for index in named if (layout := _layout(samples, index))}
    visual = {index: layout.num_tokens for index, layout in layouts.items()}
    # Each pad is a token of its own: writing thousands of them only to count them takes most of the time.
    bare = {index: replace(layout, tokens_per_step=0) for index, layout in layouts.items()}
    read, counts = samples.reader(), np.zeros(len(records), np.int32)
    for start in range(0, len(records), BATCH):
        places: dict[str, int] = {}  # text -> its place in the batch: questions and short answers recur
        parts: list[list[int]] = []
        for position, record in enumerate(records[start : start + BATCH], start):
            media = samples.dataset.columns.media_of(record).tolist()
            turns = read_turns(read(record), samples.prompt.conversation_key)
            found = [bare[index] for index in media if index in bare]
            segments = render(turns, found, samples.prompt, generate=samples.generate)
            parts.append([places.setdefault(segment.text, len(places)) for segment in segments])
            counts[position] = sum(visual.get(index, 0) for index in media)
        sizes = [len(one) for one in tokenizer.encode_batch_fast(list(places), add_special_tokens=False)]
        counts[start : start + len(parts)] += [sum(sizes[place] for place in part) for part in parts]
    return counts


def too_long(samples: Samples, limit: Limit, model: ModelFacts | None) -> Iterator[Problem]:
    """Yield what is too long: certain from the media alone, exact by the tokenizer, or only possible without one."""
    lower, upper = bounds(samples)
    file, room = str(samples.dataset.annotation), limit.room
    certain = np.flatnonzero(lower > room)
    if len(certain):
        # The upper bound, so that one change is enough.
        yield from _name(samples, limit, certain, lower[certain], model, most=int(upper.max()))
        return
    possible = np.flatnonzero(upper > room)
    if not len(possible):
        return
    possible = possible[np.argsort(-upper[possible], kind="stable")]
    tokenizer = load_tokenizer(model)
    if tokenizer is None:
        saw = f"{len(possible):,} records may be longer than {room:,} tokens (up to {upper.max():,}, by their bytes)"
        want = "a local model, whose tokenizer counts exactly"
        yield Problem(limit.key, saw, want, record=int(possible[0]), file=file, severity="warning")
        return
    counts = count_tokens(samples, possible[:COUNTED].tolist(), tokenizer)
    over = counts > room
    yield from _name(samples, limit, possible[:COUNTED][over], counts[over], model, most=int(counts.max()))
    if not over.any() and len(possible) > COUNTED:
        saw = (
            f"{len(possible) - COUNTED:,} records may be longer than {room:,} tokens; the {COUNTED:,} likeliest are not"
        )
        yield Problem(limit.key, saw, "shorter records", file=file, severity="warning")


def _longest(samples: Samples, records: list[int], tokenizer: Any | None) -> int:
    """Return the tokens of the longest of some records: exact, or without a tokenizer an upper bound."""
    lengths = bounds(samples)[1][records] if tokenizer is None else count_tokens(samples, records, tokenizer)
    return int(lengths.max())


def _name(
    samples: Samples,
    limit: Limit,
    records: npt.NDArray[np.int64],
    tokens: Lengths,
    model: ModelFacts | None,
    *,
    most: int,
) -> Iterator[Problem]:
    """Name the worst records; `most` tokens are enough for all of them."""
    if not len(records):
        return
    need = -(-(most + limit.reserved) // 1024) * 1024  # a round number that fits: 40961 -> 41984
    worst = records[np.argsort(-tokens, kind="stable")[:TRIED]].tolist()
    tokenizer = load_tokenizer(model)

    def fits(sampling: SamplingPlan) -> bool:
        return _longest(replace(samples, sampling=sampling), worst, tokenizer) <= limit.room

    smaller = shorter(samples.sampling, fits)
    prefix = limit.pixels_key.removesuffix("total_pixels")
    instead = [f"{prefix}{name} to {value:g}" for name, value in smaller.items()]
    fix = f"set it to {need}" + (f", or {', or '.join(instead)}" if instead else ", or shorten the text")
    file = str(samples.dataset.annotation)
    for rank, position in enumerate(np.argsort(-tokens, kind="stable")[:SHOWN].tolist()):
        saw = f"{int(tokens[position]):,} tokens"
        if rank == 0 and len(records) > 1:
            saw += f", the longest of {len(records):,} such records"
        want = f"at most {limit.room:,}" + (f" ({limit.reserved:,} are kept for the answer)" if limit.reserved else "")
        yield Problem(limit.key, saw, want, fix, {limit.key: need}, int(records[position]), file)


@rule(
    "cosmos_reason/model-max-length",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="seed guide, critical overrides: too small a length cuts visual tokens off, a shape mismatch mid-run",
)
def train_length(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Every record fits policy.model_max_length, text and vision together. Nothing is ever cut."""
    model = facts.models.get("model")
    for label, part in (("train", plan.data.train), ("val", plan.data.val)):
        dataset = facts.datasets.get(label)
        if dataset is not None and part is not None:
            prompt = PromptOptions(
                plan.data.prompt_format, plan.data.system_prompt, plan.data.conversation_key, part.response_mode
            )
            samples = Samples(dataset, plan.data.sampling, model.geometry if model else VisionGeometry(), prompt)
            limit = Limit(plan.model.max_length, "policy.model_max_length", "custom.vision.total_pixels")
            yield from too_long(samples, limit, model)


@rule(
    "cosmos_reason/evaluate-max-length",
    "error",
    families=("cosmos_reason",),
    actions=("evaluate",),
    source="a prompt that leaves no room for its answer is cut or refused mid-run",
)
def evaluate_length(spec: EvaluateSpec, facts: Facts, plan: EvaluatePlan) -> Iterator[Problem]:
    """Every prompt, and the longest answer after it, fit model.max_length."""
    model, dataset = facts.models.get("base_model") or facts.models.get("model"), facts.datasets.get("eval")
    if dataset is None:
        return
    prompt = PromptOptions(plan.prompt_format, plan.system_prompt)
    geometry = model.geometry if model else VisionGeometry()
    samples = Samples(dataset, plan.sampling, geometry, prompt, generate=True)
    limit = Limit(plan.model.max_length, "model.max_length", "vision.total_pixels", plan.generation.max_new_tokens)
    yield from too_long(samples, limit, model)


@rule(
    "cosmos_reason/frame-sampling",
    "error",
    families=("cosmos_reason",),
    actions=("train", "evaluate", "inference", "quantize"),
    source="seed guide, fps vs nframes: the upstream reader asserts on both and then hangs in its workers",
)
def frame_sampling(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """Exactly one of fps and nframes says how frames are taken."""
    tables = {"train": "custom.vision.", "evaluate": "vision.", "inference": "", "quantize": "dataset.vision."}
    prefix, table = tables[spec.action], spec
    for name in prefix.split(".")[:-1]:
        table = getattr(table, name)
    names = [name for name in ("fps", "nframes", "num_frames") if hasattr(table, name)]
    given = [name for name in names if getattr(table, name) is not None]
    if len(given) == 1:
        return
    saw = " and ".join(f"{name} = {getattr(table, name):g}" for name in given) or f"neither {' nor '.join(names)}"
    drop: dict[str, JsonValue] = {f"{prefix}{name}": None for name in given[:-1]}
    patch = drop or {f"{prefix}{names[1]}": 8}
    fix = "set " + ", ".join(f"{key}={'null' if value is None else value}" for key, value in patch.items())
    yield Problem(f"{prefix}fps", saw, f"exactly one of {' and '.join(names)}", fix, patch)


@rule(
    "cosmos_reason/inference-media",
    "error",
    families=("cosmos_reason",),
    actions=("inference",),
    source="a folder of the other kind of media would give an empty result",
)
def inference_media(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """What is asked about holds media of the kind that `type` names."""
    dataset = facts.datasets.get("media")
    kinds = {header.kind for header in dataset.media if header} if dataset else set()
    if kinds and spec.type not in kinds and not spec.media.endswith((".json", ".jsonl")):
        (other,) = kinds
        yield Problem(
            "type",
            f"{spec.type}, and {spec.media} holds {other} files only",
            f"{other}",
            f"set it to {other}",
            {"type": other},
        )
