"""Micro-batches of clips of one size with T5 states, for the diffusion transformers of diffusers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch

from tao_runtime.engine.build import DTYPES
from tao_runtime.engine.clip_setup import ClipSetup, clip_setup
from tao_runtime.engine.clip_source import ClipFunctions, ClipItem, ClipSource, open_ledger, open_vae
from tao_runtime.engine.dit import batch_text
from tao_runtime.engine.families import Batch
from tao_runtime.engine.objectives.draw import Draw, Shape
from tao_runtime.engine.t5_text import open_text
from tao_runtime.plan.model import TrainPlan

if TYPE_CHECKING:
    from tao_runtime.engine.dist import World

Recipe = TypeVar("Recipe")
NO_CLIP_FPS = 16.0  # of the clip of zeros in an empty micro-batch


@dataclass(frozen=True, slots=True)
class Objective(Generic[Recipe]):
    """An objective as batches need it."""

    recipe: Recipe
    draw: Callable[[Shape, torch.Generator, Recipe], Draw]
    noise: Callable[[torch.Tensor, Sequence[Draw], Recipe], Any]  # returns the noised batch
    fields: tuple[str, ...]  # of the noised batch, that travel to the loss


def open_clips(setup: ClipSetup, run_dir: Path, label: str, world: World, *, objective: Objective[Any]) -> ClipSource:
    """Open a data set of clips. Collective: captions are encoded once."""
    ledger = open_ledger(run_dir, label)
    functions = ClipFunctions(
        text=open_text(setup.diffusion.text, ledger, run_dir, world).states,
        draw=lambda shape, generator: objective.draw(shape, generator, objective.recipe),
        collate=partial(collate, setup=setup, objective=objective),
    )
    return ClipSource(ledger, setup, open_vae(setup, run_dir, world), functions)


def rehearse_clips(plan: TrainPlan, *, objective: Objective[Any]) -> Batch:
    """Return a micro-batch of as many clips of zeros as the plan puts into one."""
    diffusion = plan.diffusion
    assert diffusion is not None and diffusion.latent_shape is not None
    shape = diffusion.latent_shape
    text = torch.zeros(diffusion.text.max_tokens or 0, diffusion.text.width or 0)
    items = [ClipItem(0, torch.zeros(shape), text, Draw(1.0, torch.zeros(shape)), NO_CLIP_FPS)] * plan.batch.micro
    return collate(items, setup=clip_setup(plan), objective=objective)


def collate(items: Sequence[ClipItem], *, setup: ClipSetup, objective: Objective[Any]) -> Batch:
    """Return a micro-batch. No sample: one of zeros that weighs nothing, as every rank must run the network."""
    diffusion, clips = setup.diffusion, setup.rules
    assert diffusion.latent_shape is not None
    text, count = diffusion.text, len(items)
    if not items:
        zero = torch.zeros(diffusion.latent_shape)
        items = [ClipItem(-1, zero, torch.zeros(0, text.width or 0), Draw(1.0, zero), NO_CLIP_FPS)]
    draws = [item.draw for item in items]
    noised = objective.noise(torch.stack([item.latents_CTHW for item in items]), draws, objective.recipe)
    states_BSD = batch_text([item.text for item in items], draws, length=text.max_tokens or 512)
    tokens = clips.latent.tokens(clips.num_frames or 1, *clips.sizes[0])
    return {
        **{name: getattr(noised, name) for name in objective.fields},
        "text_BSD": states_BSD.to(DTYPES[setup.compute]),
        "fps": items[0].fps,
        "recipe": objective.recipe,
        "weight": count,
        "num_tokens": len(items) * tokens,
    }
