"""The proof: the base and the quantised model answer the same records, and are shown the same and other pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from tao_runtime.data.families import dry_family
from tao_runtime.engine.families import ChatFamily
from tao_runtime.engine.inputs import place
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.respond import Responder
from tao_runtime.engine.samples import Item, SampleSource
from tao_runtime.plan.model import GenerationPlan
from tao_runtime.score.answer import Kind
from tao_runtime.score.metrics import judge_row
from tao_runtime.score.results import Result

PROBED = 8  # records that are shown with other pixels


def answer_all(
    title: str, responder: Responder, source: SampleSource, generation: GenerationPlan, *, count: int
) -> list[Result]:
    """Return a model's answers to the first `count` records of a ledger, in order."""
    dry, rows = dry_family(source.rules.family), []
    with StepProgress(f"answer ({title})", count) as progress:
        for start in range(0, count, generation.batch_size):
            positions = range(start, min(count, start + generation.batch_size))
            answers = responder.answer([source.load(position, generate=True) for position in positions], generation)
            for position, answer in zip(positions, answers, strict=True):
                record = source.ledger.read(position)
                turns, media = dry.read_turns(record, "conversations"), dry.media_names(record)
                name = str(record.get("id", source.ledger.record[position]))
                rows.append(
                    Result(
                        video_id=name,
                        id=name,
                        video=media[0][1] if media else None,
                        question=dry.question_of(turns),
                        gt=dry.answer_of(turns),
                        response=answer,
                        error_type=None if answer is not None else "MISSING",
                    )
                )
            progress.advance(by=len(positions))
    return rows


def judged(rows: Sequence[Result], kind: Kind) -> list[Result]:
    return [judge_row(row, kind=kind) for row in rows]


def with_media(source: SampleSource) -> list[Item]:
    """Return the prompts of the first records of a ledger that have a medium."""
    found: list[Item] = []
    for position in range(len(source.ledger)):
        item = source.load(position, generate=True)
        if isinstance(item, Item) and item.frames:
            found.append(item)
        if len(found) == PROBED:
            break
    return found


@torch.no_grad()
def reaction(
    model: nn.Module, family: ChatFamily, source: SampleSource, items: Sequence[Item], device: torch.device
) -> float:
    """Return how far other pixels move the logits of the first answer token: |other - real| / |real|, mean."""
    moved = 0.0
    for item in items:
        # Half the range away, whatever a pixel was: grey ones change as well.
        other = replace(item, frames=tuple(frames ^ 128 for frames in item.frames))
        batches = (place(family.collate_prompts([one], source.rules.geometry), device) for one in (item, other))
        real_BV, other_BV = (family.next_logits(model, batch) for batch in batches)
        moved += float((other_BV - real_BV).norm() / real_BV.norm().clamp_min(1e-12))
    return moved / len(items)
