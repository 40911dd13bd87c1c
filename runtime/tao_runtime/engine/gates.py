"""The gates of step 0 and step 1: what must be true before the rest of a run is worth its time."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from tao_runtime.engine.build import Built
from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.run_dir import RunLog
from tao_runtime.engine.weights import clean_name
from tao_runtime.errors import RunError
from tao_runtime.plan.model import ModelPlan


def gate_weights(log: RunLog, built: Built) -> None:
    """Record that every base tensor was found with its shape (`load_base` raised otherwise)."""
    log.gate(
        "base-weights",
        ok=True,
        expected=built.load.expected,
        matched=built.load.matched,
        unused=len(built.load.unused),
        unused_examples=list(built.load.unused[:5]),
    )


def gate_trainable(log: RunLog, built: Built, plan: ModelPlan) -> None:
    """What is trained must be what the spec says: with LoRA, its layers and the modules to save, and nothing else."""
    trained = set(built.trainable)
    total = sum(parameter.numel() for parameter in built.model.parameters())
    count = sum(parameter.numel() for parameter in built.model.parameters() if parameter.requires_grad)
    if plan.lora is not None and not plan.trainable_map and not plan.trainable_pattern:
        saved = plan.lora.modules_to_save
        strange = [name for name in trained if ".lora_" not in name and not set(saved) & set(name.split("."))]
        without = [module for module in saved if not any(module in name.split(".") for name in trained)]
        if strange or without:
            raise RunError(f"trainable set: {strange[:3]} should be frozen; {without} should be trained")
    log.gate("trainable", ok=True, tensors=len(trained), parameters=count, of=total, lora_tensors=len(built.added))


def gate_gradient(log: RunLog, model: nn.Module, family: WetFamily) -> None:
    """After the first backward: the gradient of every trained part of the model is finite and not zero. Collective."""
    squares: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = family.part_of(clean_name(name))
        gradient = parameter.grad
        norm = torch.zeros(()) if gradient is None else gradient.float().norm()
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        squares[part] = squares.get(part, torch.zeros(())) + norm.cpu() ** 2
    norms = {part: float(square.sqrt()) for part, square in squares.items()}
    dead = [part for part, norm in norms.items() if not 0 < norm < float("inf")]
    log.gate("gradient", ok=not dead, **norms)
    if dead:
        raise RunError(
            f"step 1: the gradient of {', '.join(dead)} is {[norms[part] for part in dead]}; want > 0, finite"
        )
