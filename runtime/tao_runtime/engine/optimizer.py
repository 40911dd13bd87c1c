"""The optimizer of a plan: one parameter group per learning rate, all state sharded as the parameters are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.weights import clean_name
from tao_runtime.plan.model import OptimizerPlan

OPTIMIZERS = {"AdamW": torch.optim.AdamW, "Adam": torch.optim.Adam}


def make_optimizer(model: nn.Module, family: WetFamily, plan: OptimizerPlan) -> torch.optim.Optimizer:
    """Return the optimizer of the trainable parameters. Each group keeps its base rate in `base_lr`."""
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = family.part_of(clean_name(name))
            groups.setdefault(part if part in plan.lr else "global", []).append(parameter)
    return OPTIMIZERS[plan.name](
        [{"params": parameters, "lr": plan.lr[part], "base_lr": plan.lr[part]} for part, parameters in groups.items()],
        betas=plan.betas,
        eps=plan.eps,
        weight_decay=plan.weight_decay,
        fused=plan.implementation == "fused",
        foreach=plan.implementation == "foreach",
    )


def settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return the settings of every group, without its parameters."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def restore_settings(optimizer: torch.optim.Optimizer, settings: list[dict[str, Any]]) -> None:
    """Put settings back that loading a checkpoint replaced: the plan decides them, the checkpoint only the moments."""
    for group, values in zip(optimizer.param_groups, settings, strict=True):
        group.update(values)


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its base rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def clip_gradients(model: nn.Module, limit: float) -> torch.Tensor:
    """Scale the gradients to a global L2 norm of at most `limit` (0: leave them); returns the norm before, scalar."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit if limit > 0 else float("inf"))
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
