"""LoRA through peft: injected on the meta device before sharding, initialised after it, merged for export.

peft is imported where it is used: a run without adapters starts without it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tao_runtime.engine.weights import clean_name, put
from tao_runtime.errors import RunError
from tao_runtime.plan.model import LoraPlan

if TYPE_CHECKING:
    from peft import LoraConfig

ADAPTER = "default"


def lora_config(plan: LoraPlan, *, base: str | None = None, task: str | None = None) -> LoraConfig:
    """Return peft's configuration of a plan; `base` and `task` are recorded in an exported adapter."""
    from peft import LoraConfig  # noqa: PLC0415 - see the module

    targets: str | list[str] = list(plan.target_modules)
    return LoraConfig(
        r=plan.r,
        lora_alpha=plan.alpha,
        lora_dropout=plan.dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        modules_to_save=list(plan.modules_to_save) or None,
        use_rslora=plan.use_rslora,
        init_lora_weights=plan.init,
        rank_pattern=dict(plan.rank_pattern),
        alpha_pattern=dict(plan.alpha_pattern),
        base_model_name_or_path=base,
        task_type=task,
    )


def inject(model: nn.Module, plan: LoraPlan) -> frozenset[str]:
    """Add LoRA layers and freeze the rest; returns the names of the added parameters.

    Modules to save are trained in place instead of in a copy beside the original, which would cost their memory twice.
    """
    from peft import inject_adapter_in_model  # noqa: PLC0415 - see the module

    before = {name for name, _ in model.named_parameters()}
    config = lora_config(plan)
    config.modules_to_save = None
    config.init_lora_weights = False  # on meta; `initialise` does it after sharding
    try:
        inject_adapter_in_model(config, model, ADAPTER)
    except ValueError as error:
        raise RunError(f"policy.lora.target_modules: {error}") from error
    strange = [name for name, layer in lora_layers(model) if not isinstance(layer.get_base_layer(), nn.Linear)]
    if strange:
        raise RunError(
            f"policy.lora.target_modules: {strange[0].rstrip('.')} is not a linear layer; name linear layers only"
        )
    added = frozenset(name for name, _ in model.named_parameters() if ".lora_" in name)
    lost = before - {clean_name(name) for name, _ in model.named_parameters()}
    assert not lost, f"peft renamed parameters that are not known here: {sorted(lost)[:3]}"
    for name, parameter in model.named_parameters():
        saved = any(module in clean_name(name).split(".") for module in plan.modules_to_save)
        parameter.requires_grad_(name in added or saved)
    return added


def lora_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield (name, layer) of every module that LoRA was put on."""
    for name, module in model.named_modules():
        if isinstance(getattr(module, "lora_A", None), nn.ModuleDict):  # peft's LoraLayer
            yield clean_name(f"{name}."), module


@torch.no_grad()
def initialise(model: nn.Module, plan: LoraPlan, *, seed: int) -> None:
    """Initialise A and B as peft does for true, false and "gaussian"; equal on every world size.

    Each matrix is drawn whole from a generator seeded by (seed, its name). true: A ~ Kaiming uniform with a = sqrt(5),
    B = 0. gaussian: A ~ N(0, 1/r). false: B is drawn as well, so that the adapter is no identity at the start.
    """
    for name, layer in lora_layers(model):
        for matrix, zero in (
            (layer.lora_A[ADAPTER].weight, False),
            (layer.lora_B[ADAPTER].weight, plan.init is not False),
        ):
            if zero:
                put(matrix, torch.zeros(matrix.shape))
                continue
            digest = hashlib.sha256(f"{seed}/{name}/{tuple(matrix.shape)}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            value = torch.empty(matrix.shape)
            if plan.init == "gaussian":
                value.normal_(std=1 / layer.r[ADAPTER], generator=generator)
            else:
                bound = 1 / math.sqrt(matrix.shape[1])  # kaiming_uniform_(a=sqrt(5)) of a linear layer
                value.uniform_(-bound, bound, generator=generator)
            put(matrix, value)
