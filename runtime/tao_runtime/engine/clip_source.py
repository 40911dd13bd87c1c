"""Clips as a source of training: a window of a file as latents, its caption as states, and what chance decides.

The video tokenizer and the text encoder are frozen and run once: latents of a window are kept on disk by content, and
captions without an embedding of their own are encoded before the first step.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tao_runtime.data.clips import Clip
from tao_runtime.engine.clip_setup import ClipSetup
from tao_runtime.engine.clips import load_clip
from tao_runtime.engine.frames import DecodeError
from tao_runtime.engine.latent_cache import LatentCache, LatentKey
from tao_runtime.engine.objectives.draw import Draw, Shape, sample_generator, uniform
from tao_runtime.engine.run_dir import LEDGER
from tao_runtime.engine.source import BadSample
from tao_runtime.engine.video_vae import Vae, encode, load_vae, vae_sha256
from tao_runtime.errors import InputError
from tao_runtime.plan.clip_ledger import ClipLedger

if TYPE_CHECKING:
    from tao_runtime.engine.dist import World
    from tao_runtime.engine.families import Batch

LATENTS = "latents"  # folder of a run


@dataclass(frozen=True, slots=True)
class ClipItem:
    """One sample, ready to be collated."""

    record: int  # index in the data set
    latents_CTHW: torch.Tensor  # normalised, float32
    text: torch.Tensor  # states [tokens, width], or ids [tokens]
    draw: Draw
    fps: float  # of the sample


@dataclass(frozen=True, slots=True)
class ClipFunctions:
    """What a family does with clips."""

    text: Callable[[ClipLedger, int, int, Clip, bool], torch.Tensor]  # (ledger, position, window, clip, dropped)
    draw: Callable[[Shape, torch.Generator], Draw]
    collate: Callable[[Sequence[ClipItem]], Batch]


class FrozenVae:
    """A video tokenizer that encodes one clip at a time, and remembers what it encoded."""

    def __init__(self, path: Path, cache: LatentCache, device: torch.device) -> None:
        self.model: Vae = load_vae(path).to(device)
        self.sha256 = vae_sha256(self.model)
        self.cache = cache
        self._one_at_a_time = threading.Lock()

    def latents(self, file: Path, clip: Clip) -> torch.Tensor:
        """Return normalised latents [C, T, H, W] on the CPU.

        Raises:
            DecodeError: a frame does not decode.
        """
        indices = tuple(clip.indices)
        key = LatentKey(self.cache.clip_sha256(file), indices, clip.height, clip.width, self.sha256)

        def make() -> torch.Tensor:
            frames_THWC = load_clip(file, indices, height=clip.height, width=clip.width)
            with self._one_at_a_time:
                return encode(self.model, frames_THWC[None])[0]

        return self.cache.load(key, make)


class ClipSource:
    """Loads the samples of a clip ledger. Noise, window and dropped text derive from (seed, step, sample)."""

    def __init__(self, ledger: ClipLedger, setup: ClipSetup, vae: FrozenVae, functions: ClipFunctions) -> None:
        self.ledger = ledger
        self.rules = setup.rules
        self.seed = setup.seed
        self.vae = vae
        self.cache = vae.cache
        self.functions = functions

    def load(self, position: int, step: int) -> ClipItem | BadSample:
        """Return the sample at a position of the ledger as optimizer step `step` sees it."""
        record, file = int(self.ledger.record[position]), Path(str(self.ledger.file[position]))
        clip, window, generator = self.cut(position, step)
        try:
            latents = self.vae.latents(file, clip)
            channels, frames, height, width = latents.shape
            draw = self.functions.draw((channels, frames, height, width), generator)
            text = self.functions.text(self.ledger, position, window, clip, draw.drop_text)
        except (DecodeError, OSError, InputError, ValueError) as error:
            return BadSample(record, str(error))
        planned = self.rules.latent.shape(clip.num_frames, clip.height, clip.width)
        if tuple(latents.shape) != planned:
            return BadSample(record, f"has latents of {list(latents.shape)}, the plan says {list(planned)}")
        return ClipItem(record, latents, text, draw, clip.fps)

    def cut(self, position: int, step: int) -> tuple[Clip, int, torch.Generator]:
        """Return the clip of a sample, the number of its window, and the source of its further draws."""
        generator = sample_generator(self.seed, step, position)
        clip, window = self.ledger.cut(position, self.rules, window=uniform(generator), start=uniform(generator))
        return clip, window, generator

    def collate(self, items: Sequence[ClipItem]) -> Batch:
        """Return a micro-batch."""
        return self.functions.collate(items)


def open_ledger(run_dir: Path, label: str) -> ClipLedger:
    """Return a ledger of a run directory."""
    return ClipLedger.load(run_dir / LEDGER.format(label=label))


def open_vae(setup: ClipSetup, run_dir: Path, world: World) -> FrozenVae:
    """Return the video tokenizer of a plan; each process has its share of the budget of latents."""
    cache = LatentCache(run_dir / LATENTS, setup.cache_bytes)
    cache.budget_bytes = cache.used_bytes + max(0, setup.cache_bytes - cache.used_bytes) // world.size
    path = Path(setup.diffusion.tokenizer)
    beside = setup.model / path  # `vae` beside the network of a pipeline folder
    return FrozenVae(path if path.exists() else beside, cache, world.device)
