"""Captions as the states of a T5 encoder, computed once: one safetensors per caption, [tokens, width], without padding.

Encoders of this size do not fit beside the network that is trained, and captions do not change between epochs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.progress import StepProgress
from tao_runtime.errors import InputError

TENSOR, IDENTITY = "states", "encoder.json"


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """What the states of a folder were made with: others do not mix with them."""

    name: str  # hub id or folder, with its revision
    max_tokens: int
    dtype: str


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """A T5 encoder of transformers with its tokenizer."""

    model: Any
    tokenizer: Any
    name: str
    max_tokens: int = 512  # longer captions are cut, as upstream does
    dtype: torch.dtype = torch.float16  # of the states on disk

    @property
    def identity(self) -> EncoderIdentity:
        return EncoderIdentity(self.name, self.max_tokens, str(self.dtype).removeprefix("torch."))

    @torch.no_grad()
    def states(self, captions: Sequence[str]) -> list[torch.Tensor]:
        """Return the states [tokens, width] of each caption, on the CPU. Padding is masked, and not returned."""
        batch = self.tokenizer(
            list(captions), padding="longest", max_length=self.max_tokens, truncation=True, return_tensors="pt"
        ).to(self.model.device)
        hidden = self.model(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
        lengths = batch.attention_mask.sum(1).tolist()
        return [row[:length].to(self.dtype).cpu().contiguous() for row, length in zip(hidden, lengths, strict=True)]


def encode_captions(
    captions: Sequence[str], folder: Path, encoder: TextEncoder, *, batch_size: int = 16, show: bool = True
) -> int:
    """Write the states of every caption that the folder lacks; returns how many were written.

    A folder left half-way is finished. Dropped text needs no states: it is zero.

    Raises:
        InputError: the folder's states come from another encoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder, encoder.identity)
    wanted = list(dict.fromkeys(captions))
    missing = [caption for caption in wanted if not state_path(folder, caption).is_file()]
    # Of like length together: padding is work.
    missing.sort(key=len)
    with StepProgress("text", len(wanted), done=len(wanted) - len(missing), enabled=show) as progress:
        for batch in _cut(missing, batch_size):
            for caption, states in zip(batch, encoder.states(batch), strict=True):
                _write(state_path(folder, caption), states)
            progress.advance(by=len(batch))
    return len(missing)


def load_states(folder: Path, caption: str) -> torch.Tensor:
    """Return the states [tokens, width] of a caption.

    Raises:
        InputError: the folder has none.
    """
    path = state_path(folder, caption)
    if not path.is_file():
        raise InputError(f"{folder}: no text states for {caption[:60]!r}; want every caption encoded before training")
    return load_file(path)[TENSOR]


def state_path(folder: Path, caption: str) -> Path:
    """Return where the states of a caption are, or would be."""
    return folder / f"{hashlib.sha256(caption.encode()).hexdigest()}.safetensors"


def claim(folder: Path, identity: EncoderIdentity) -> None:
    """Say in the folder whose states it holds.

    Raises:
        InputError: it says another.
    """
    path = folder / IDENTITY
    ours = {"name": identity.name, "max_tokens": identity.max_tokens, "dtype": identity.dtype}
    if path.is_file() and (theirs := json.loads(path.read_text())) != ours:
        raise InputError(f"{path}: states of {theirs}; want {ours}. Name another folder, or delete this one")
    write_atomically(path, json.dumps(ours))


def _write(path: Path, states: torch.Tensor) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    save_file({TENSOR: states}, temporary)
    temporary.replace(path)


def _cut(captions: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(captions), size):
        yield captions[start : start + size]
