"""Captions of clips as T5 states: from the file beside a clip, or from the plan's encoder, once before training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoTokenizer, T5EncoderModel

from tao_runtime.data.clips import Clip
from tao_runtime.data.records import read_caption
from tao_runtime.data.snapshot import tokenizer_folder
from tao_runtime.data.t5 import EmbeddingError, read_embedding
from tao_runtime.engine.text_states import TextEncoder, encode_captions, load_states
from tao_runtime.errors import InputError, RunError
from tao_runtime.plan.clip_ledger import ClipLedger
from tao_runtime.plan.diffusion import TextPlan

if TYPE_CHECKING:
    from tao_runtime.engine.dist import World

STATES = "text_states"  # folder of a run


class T5Text:
    """Returns the states of a sample's caption."""

    def __init__(self, plan: TextPlan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder

    def states(self, ledger: ClipLedger, position: int, window: int, clip: Clip, dropped: bool) -> torch.Tensor:
        """Return states [tokens, width]. What is dropped is none: zero, as a padded text's end.

        Raises:
            InputError: the file is no embedding, or of another width than the network takes.
        """
        width = self.plan.width or 0
        if dropped:
            return torch.zeros(0, width)
        text = read_caption(ledger, position, window)
        if text.embedding is None:
            found = load_states(self.folder, text.caption)
        else:
            try:
                found = torch.from_numpy(read_embedding(Path(text.embedding)).values.copy())
            except EmbeddingError as error:
                raise InputError(f"{text.embedding}: {error}") from error
        if found.shape[1] != width:
            raise InputError(f"text states are {found.shape[1]} wide; the network takes {width}")
        return found.float()


def open_text(plan: TextPlan, ledger: ClipLedger, run_dir: Path, world: World) -> T5Text:
    """Encode, on the first process, every caption that has no embedding; return the reader of all. Collective.

    Raises:
        RunError: captions need an encoder and there is none.
    """
    folder = run_dir / STATES
    if world.is_main:
        _encode_missing(plan, ledger, folder)
    world.barrier()
    return T5Text(plan, folder)


def _encode_missing(plan: TextPlan, ledger: ClipLedger, folder: Path) -> None:
    missing = []
    for position in range(len(ledger)):
        for number in ledger.number[ledger.start[position] : ledger.start[position + 1]].tolist():
            text = read_caption(ledger, position, number)
            if text.embedding is None:
                missing.append(text.caption)
    if not missing:
        return
    if plan.encoder is None or not Path(plan.encoder).is_dir():
        raise RunError(f"{len(missing)} captions have no embedding, and {plan.encoder} is no folder of a text encoder")
    place = Path(plan.encoder)
    model = T5EncoderModel.from_pretrained(place).eval().requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder(place))
    limit = plan.max_tokens or 512
    encode_captions(missing, folder, TextEncoder(model, tokenizer, str(place), max_tokens=limit))
