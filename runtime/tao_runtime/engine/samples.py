"""Samples: a record of the ledger as tokens and frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from tao_runtime.data.facts import MediaKind
from tao_runtime.data.families import Tokenizer, dry_family, tokenize
from tao_runtime.data.llava_parquet import inside_parquet, picture_header
from tao_runtime.data.media import probe_header
from tao_runtime.data.vision import MediaLayout, lay_out
from tao_runtime.engine.frames import DecodeError, FrameCache
from tao_runtime.engine.source import BadSample
from tao_runtime.errors import Finding
from tao_runtime.plan.ledger import Ledger, SampleRules


@dataclass(frozen=True, slots=True)
class Item:
    """One sample, ready to be collated."""

    record: int  # index in the annotation file
    ids: torch.Tensor  # [L] int64
    supervised: torch.Tensor  # [L] bool
    visual: torch.Tensor  # [L] bool: stands for a piece of a medium
    frames: tuple[torch.Tensor, ...]  # TCHW uint8, one per medium
    layouts: tuple[MediaLayout, ...]


class SampleMaker:
    """Makes samples from records. Thread-safe: PyAV, torch and the tokenizer release the GIL."""

    def __init__(self, rules: SampleRules, tokenizer: Tokenizer, cache: FrameCache) -> None:
        self.rules = rules
        self.tokenizer = tokenizer
        self.cache = cache
        self._dry = dry_family(rules.family)
        ids = (tokenizer.token_to_id(token) for token in self._dry.MEDIA_TOKENS)
        self._media_ids = torch.tensor([index for index in ids if index is not None])
        self._layouts: dict[Path, MediaLayout] = {}

    def make(
        self, record: Mapping[str, object], index: int, media_root: Path, *, generate: bool = False
    ) -> Item | BadSample:
        """Return the sample of any record."""
        try:
            paths = [(media_root / name, kind) for kind, name in self._dry.media_names(record)]
            layouts = [self._lay_out(path, kind) for path, kind in paths]
            frames = [self.cache.load(path, layout) for (path, _), layout in zip(paths, layouts, strict=True)]
        except (DecodeError, OSError) as error:
            return BadSample(index, str(error))
        turns = self._dry.read_turns(record, self.rules.prompt.conversation_key)
        tokens = tokenize(self._dry.render(turns, layouts, self.rules.prompt, generate=generate), self.tokenizer)
        ids = torch.tensor(tokens.ids)
        visual = torch.isin(ids, self._media_ids)
        return Item(index, ids, torch.tensor(tokens.supervised), visual, tuple(frames), tuple(layouts))

    def _lay_out(self, path: Path, kind: MediaKind) -> MediaLayout:
        """Return the layout of a file, its header read once per process."""
        if path not in self._layouts:
            header = picture_header(path) if inside_parquet(path) else probe_header(path, kind)
            if isinstance(header, Finding):
                raise DecodeError(header.render())
            self._layouts[path] = lay_out(header, self.rules.sampling, self.rules.geometry)
        return self._layouts[path]


class SampleSource(SampleMaker):
    """Loads the records of a ledger."""

    def __init__(self, ledger: Ledger, rules: SampleRules, tokenizer: Tokenizer, cache: FrameCache) -> None:
        super().__init__(rules, tokenizer, cache)
        self.ledger = ledger

    def load(self, position: int, step: int = 0, *, generate: bool = False) -> Item | BadSample:
        """Return the sample at a position of the ledger, the same in every step; with `generate`, only its prompt."""
        index, root = int(self.ledger.record[position]), self.ledger.media_root
        item = self.make(self.ledger.read(position), index, root, generate=generate)
        if isinstance(item, Item) and not generate and len(item.ids) != self.ledger.length[position]:
            return BadSample(index, f"has {len(item.ids)} tokens, the plan measured {self.ledger.length[position]}")
        return item
