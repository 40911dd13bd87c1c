"""The wet half of the Cosmos3 vision family: flow matching on packs of clips and their captions' tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers import Cosmos3OmniTransformer
from torch import nn
from torch.distributed import ProcessGroup
from transformers import AutoTokenizer

from tao_runtime.data import cosmos3_vision as dry
from tao_runtime.data.captions import Caption
from tao_runtime.data.clips import Clip
from tao_runtime.data.facts import Facts
from tao_runtime.data.records import read_caption
from tao_runtime.engine.build import DTYPES
from tao_runtime.engine.clip_setup import ClipSetup, clip_setup
from tao_runtime.engine.clip_source import ClipFunctions, ClipItem, ClipSource, open_ledger, open_vae
from tao_runtime.engine.dit_family import DiffusersFamily, build_network, layout
from tao_runtime.engine.families import Batch, ClipFamily
from tao_runtime.engine.families.cosmos3_vision.context_parallel import split_tokens
from tao_runtime.engine.families.cosmos3_vision.packing import (
    PackedAttention,
    PackSample,
    grid,
    install,
    pack,
    run_packed,
)
from tao_runtime.engine.objectives import flow_matching
from tao_runtime.engine.objectives.draw import Draw
from tao_runtime.engine.objectives.flow_matching import FlowNoised, FlowRecipe
from tao_runtime.errors import InputError
from tao_runtime.plan.clip_ledger import ClipLedger
from tao_runtime.plan.cosmos3_vision import expected_load
from tao_runtime.plan.diffusion import DiffusionPlan
from tao_runtime.plan.model import ClipsPlan, TrainPlan

if TYPE_CHECKING:
    from tao_runtime.engine.dist import World

TOKENIZER, START_OF_VISION = "text_tokenizer", "<|vision_start|>"


def _remember(model: nn.Module, processor: PackedAttention, *, ranks: int) -> None:
    object.__setattr__(model, "packing", (processor, ranks))


def recipe_of(plan: DiffusionPlan) -> FlowRecipe:
    """Return the numbers of the objective."""
    given = plan.condition.frames
    return FlowRecipe(
        distribution="waver",
        shift=plan.noise.shift,
        condition_shares=tuple(given.get(count, 0.0) for count in range(max(given) + 1)),
        caption_dropout=plan.condition.text_dropout,
        loss_scale=plan.noise.loss_scale,
        num_train_timesteps=round(plan.noise.timestep_scale),
    )


class CaptionTokens:
    """Captions as the pipeline writes and tokenises them: chat, end of text, start of vision."""

    def __init__(self, folder: Path, max_tokens: int | None) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.max_tokens = max_tokens
        self._end = [self.tokenizer.eos_token_id, self.tokenizer.convert_tokens_to_ids(START_OF_VISION)]

    def ids(self, ledger: ClipLedger, position: int, window: int, clip: Clip, dropped: bool) -> torch.Tensor:
        """Return the tokens [L] of a sample's text; of a dropped caption, what is said of length and size remains.

        Raises:
            InputError: it is longer than the plan allows.
        """
        said = read_caption(ledger, position, window)
        caption = Caption("", structured=False) if dropped else Caption(said.caption, said.structured)
        shape = {"num_frames": clip.num_frames, "fps": clip.fps, "height": clip.height, "width": clip.width}
        chat = [{"role": "user", "content": caption.prompt(**shape).strip()}]  # type: ignore[arg-type]
        ids: Any = self.tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=True)
        found = [*ids["input_ids"], *self._end]
        if self.max_tokens is not None and len(found) > self.max_tokens:
            raise InputError(f"the caption has {len(found)} tokens; want at most {self.max_tokens}")
        return torch.tensor(found)


def collate(items: Sequence[ClipItem], *, setup: ClipSetup, recipe: FlowRecipe) -> Batch:
    """Return a pack. No sample: one small clip of zeros that weighs nothing, as every rank must run the network."""
    clips, count = setup.rules, len(items)
    patch = clips.latent.patch
    if not items:
        zero = torch.zeros(clips.latent.channels, 1, patch, patch)
        items = [ClipItem(-1, zero, torch.zeros(1, dtype=torch.long), Draw(0.5, zero), 16.0)]
    tokens = 0
    for item in items:
        frames, rows, columns = grid(item.latents_CTHW, patch)
        tokens += frames * rows * columns
    return {
        "items": tuple(items),
        "recipe": recipe,
        "dtype": DTYPES[setup.compute],
        "temporal": clips.latent.temporal,
        "turned": False,
        "weight": count,
        "num_tokens": tokens,
    }


def _noised(batch: Batch, device: torch.device) -> list[FlowNoised]:
    recipe = batch["recipe"]
    return [flow_matching.noise(item.latents_CTHW.to(device), item.draw, recipe) for item in batch["items"]]


class Cosmos3Vision(DiffusersFamily):
    """Packs of clips, each after its caption's tokens, through both towers."""

    NETWORKS = ("Cosmos3OmniTransformer",)
    EXPORT = layout(Cosmos3OmniTransformer)
    LEFT_OUT = dry.LEFT_OUT

    def build(self, directory: Path, *, packed: bool) -> nn.Module:
        """Return the network of a folder without weights; for training, one that runs packs."""
        model = build_network(Cosmos3OmniTransformer, directory)
        if packed:
            processor = PackedAttention()
            install(model, processor)
            _remember(model, processor, ranks=1)
        return model

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """Return the layers, each of both towers."""
        network: Any = model
        return list(network.layers)

    def original_name(self, parameter: str) -> str:
        """Return the name that a parameter has in upstream's code."""
        return dry.to_original(parameter)

    def library_name(self, original: str) -> str:
        """Return the library's name of one of upstream's tensors."""
        return dry.to_library(original)

    def share_sequence(self, model: nn.Module, group: ProcessGroup) -> None:
        """Make the model work on this rank's tokens of each pack."""
        _remember(model, split_tokens(model, group), ranks=group.size())

    def open_source(self, plan: ClipsPlan, run_dir: Path, label: str, world: World) -> ClipSource:
        """Open a data set of clips. Collective."""
        ledger, setup = open_ledger(run_dir, label), clip_setup(plan)
        recipe = recipe_of(setup.diffusion)
        functions = ClipFunctions(
            text=CaptionTokens(setup.model / TOKENIZER, setup.diffusion.text.max_tokens).ids,
            draw=partial(flow_matching.draw, recipe=recipe),
            collate=partial(collate, setup=setup, recipe=recipe),
        )
        return ClipSource(ledger, setup, open_vae(setup, run_dir, world), functions)

    def rehearse(self, plan: TrainPlan, facts: Facts) -> Batch:
        """Return a pack of one long clip of zeros, its text before it: what a pack holds does not hang on how many."""
        clips, diffusion = plan.data.clips, plan.diffusion
        assert clips is not None and diffusion is not None
        load = expected_load(plan, facts)
        rows, columns = clips.sizes[0][0] // clips.latent.spatial, clips.sizes[0][1] // clips.latent.spatial
        frames = max(1, load.video // clips.latent.tokens(1, *clips.sizes[0]))
        latents = torch.zeros(clips.latent.channels, frames, rows, columns)
        ids = torch.zeros(max(1, load.text), dtype=torch.long)
        item = ClipItem(0, latents, ids, Draw(0.5, torch.zeros_like(latents)), 24.0)
        return collate([item], setup=clip_setup(plan), recipe=recipe_of(diffusion))

    def trial_arguments(self, network: Any, generator: torch.Generator) -> tuple[dict[str, Any], str]:
        """Return arguments of a forward, and what they are: four tokens, and two latent frames of noise."""
        config = network.config
        ids = torch.randint(config.vocab_size, (4,), generator=generator)
        side = 2 * config.latent_patch_size
        latents = torch.randn(config.latent_channel, 2, side, side, generator=generator)
        packed = pack([PackSample(ids, latents, 500.0, 0, 16.0)], config, temporal_compression=4)
        return {**packed.arguments, "return_dict": False}, "4 tokens and 2 latent frames of noise"

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the sum over samples of the mean velocity error."""
        network: Any = model
        processor, ranks = network.packing
        device = next(model.parameters()).device
        noised = _noised(batch, device)
        samples = [
            PackSample(
                item.text.to(device),
                -each.input_CTHW if batch["turned"] else each.input_CTHW,
                each.timestep,
                each.condition_frames,
                item.fps,
            )
            for item, each in zip(batch["items"], noised, strict=True)
        ]
        packed = pack(samples, network.config, temporal_compression=batch["temporal"])
        outputs = run_packed(model, packed, processor, dtype=batch["dtype"])
        numerator, _ = flow_matching.loss_sums(outputs, noised, batch["recipe"])
        return numerator / ranks if batch["weight"] else numerator * 0

    def chance_loss(self, model: nn.Module, batch: Batch) -> float:
        """Return the numerator of a network that answers 0: about 2 per sample, less what is given."""
        noised = _noised(batch, torch.device("cpu"))
        zeros = [torch.zeros_like(each.velocity_CTHW) for each in noised]
        numerator, _ = flow_matching.loss_sums(zeros, noised, batch["recipe"])
        return float(numerator) if batch["weight"] else 0.0

    def disturb(self, batch: Batch) -> Batch | None:
        """Return the batch with what the network sees turned around, and what is asked of it unchanged."""
        return {**batch, "turned": True} if batch["weight"] else None


FAMILY: Final[ClipFamily] = Cosmos3Vision()
