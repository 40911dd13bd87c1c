"""Answers: a batch of prompts through a model, as text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import nn

from tao_runtime.data.families import dry_family
from tao_runtime.engine.families import chat_family
from tao_runtime.engine.inputs import place
from tao_runtime.engine.samples import Item, SampleMaker
from tao_runtime.engine.source import BadSample
from tao_runtime.plan.model import GenerationPlan


class Responder:
    """A model that answers prompts, on one device."""

    def __init__(self, model: nn.Module, maker: SampleMaker, tokenizer: Tokenizer, device: torch.device) -> None:
        self.model = model
        self.maker = maker
        self.tokenizer = tokenizer
        self.device = device
        family = maker.rules.family
        self._family = chat_family(family)
        ids = (tokenizer.token_to_id(token) for token in dry_family(family).END_TOKENS)
        self._end_ids = [index for index in ids if index is not None]

    @torch.no_grad()
    def answer(self, samples: Sequence[Item | BadSample], plan: GenerationPlan) -> list[str | None]:
        """Return one answer per sample, in order; None for a sample that could not be loaded."""
        items = [sample for sample in samples if isinstance(sample, Item)]
        texts: dict[int, str] = {}
        if items:
            torch.manual_seed(plan.seed)
            batch = self._family.collate_prompts(items, self.maker.rules.geometry)
            batch = place(batch, self.device)
            new_BS = self._family.generate(self.model, batch, plan, end_ids=self._end_ids)
            for item, ids in zip(items, new_BS.tolist(), strict=True):
                texts[item.record] = self._text(ids)
        return [texts.get(sample.record) if isinstance(sample, Item) else None for sample in samples]

    def _text(self, ids: list[int]) -> str:
        end = next((number for number, index in enumerate(ids) if index in self._end_ids), len(ids))
        return str(self.tokenizer.decode(ids[:end], skip_special_tokens=True)).strip()
