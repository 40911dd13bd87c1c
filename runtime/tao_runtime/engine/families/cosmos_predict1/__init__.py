"""The wet half of the Predict1 family (text to world): EDM, network CosmosTransformer3DModel, T5.

The loss has an uncertainty per noise level, which is trained and saved with the network and left out of an export.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from tao_runtime.data import cosmos_predict1 as dry
from tao_runtime.engine.dit import run_dit
from tao_runtime.engine.dit_batch import Objective
from tao_runtime.engine.dit_family import DitFamily, sequence_part
from tao_runtime.engine.families import Batch, ClipFamily
from tao_runtime.engine.objectives import edm
from tao_runtime.engine.objectives.edm import EdmNoised, EdmRecipe, LogVariance
from tao_runtime.plan.diffusion import DiffusionPlan

FIELDS = ("clean_BCTHW", "noisy_BCTHW", "input_BCTHW", "timestep_B", "sigma_B", "sigma_data", "elements")
HEAD, ORIGINAL_HEAD = "log_variance.head.weight", "net.logvar.1.weight"
FEATURES_SEED = 0  # the features of a noise level are drawn once and for all: every launch has the same


def recipe_of(plan: DiffusionPlan) -> EdmRecipe:
    """Return the numbers of the objective."""
    noise = plan.noise
    assert plan.latent_shape is not None
    return EdmRecipe(
        p_mean=noise.mean,
        p_std=noise.std,
        sigma_data=noise.sigma_data,
        noise_frames=plan.latent_shape[1] if noise.scale_by_frames else 1,
        loss_scale=noise.loss_scale,
        text_dropout=plan.condition.text_dropout,
    )


class CosmosPredict1(DitFamily):
    """Text to world: the loss has a learnt uncertainty per noise level."""

    LEFT_OUT = dry.LEFT_OUT

    def build(self, directory: Path, *, packed: bool) -> nn.Module:
        """Return the network of a folder without weights; for training, with the uncertainty of the loss."""
        model: Any = super().build(directory, packed=packed)
        if packed:
            model.log_variance = LogVariance(generator=torch.Generator().manual_seed(FEATURES_SEED))
        network: nn.Module = model
        return network

    def fresh_parameters(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Return the head of the uncertainty: at 0 the loss is that of EDM."""
        return {name: torch.zeros(value.shape) for name, value in model.named_parameters() if name == HEAD}

    def original_name(self, parameter: str) -> str:
        """Return the name that a parameter has in upstream's code."""
        return ORIGINAL_HEAD if parameter == HEAD else dry.to_original(parameter)

    def library_name(self, original: str) -> str:
        """Return the library's name of one of upstream's tensors."""
        return dry.to_library(original)

    def objective(self, plan: DiffusionPlan) -> Objective[Any]:
        """Return how noise is drawn and added."""
        return Objective(recipe_of(plan), edm.draw, edm.noise, FIELDS)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the summed weighted error of the samples, each level divided by its learnt variance."""
        network: Any = model
        noised = EdmNoised(**{name: batch[name] for name in FIELDS})
        part, parts = sequence_part(model)
        if parts > 1:
            noised = noised.frames(part, parts)
        log_variance_B = network.log_variance(noised.timestep_B)
        output = run_dit(model, noised.input_BCTHW, noised.timestep_B, batch["text_BSD"], fps=batch["fps"])
        numerator, _ = edm.loss_sums(output, noised, log_variance_B, batch["recipe"])
        return numerator if batch["weight"] else numerator * 0

    def chance_loss(self, model: nn.Module, batch: Batch) -> float:
        """Return the numerator of a network that answers 0: loss_scale per sample, at variance 1."""
        noised = EdmNoised(**{name: batch[name] for name in FIELDS})
        numerator, _ = edm.loss_sums(torch.zeros_like(noised.noisy_BCTHW), noised, None, batch["recipe"])
        return float(numerator) if batch["weight"] else 0.0


FAMILY: Final[ClipFamily] = CosmosPredict1()
