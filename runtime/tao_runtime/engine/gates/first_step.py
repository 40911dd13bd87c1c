"""Gates of the first step: what was counted, how large the loss is, where the gradient goes, whether pixels matter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import JsonValue
from torch import nn

from tao_runtime.engine.dist import World
from tao_runtime.engine.families import Batch, WetFamily
from tao_runtime.engine.gates.verdicts import Verdicts, listed
from tao_runtime.engine.weights import clean_name, local

# A model that knows nothing and is not sure of it has the loss of a uniform guess: ln(vocabulary) nats per token. A
# pretrained base has far less; one that was never loaded has that or a little more, as has a network that is trained
# from scratch on purpose, so that "no better than guessing" is a warning. Half as much again is worse than knowing
# nothing: weights at a wrong scale, or of another tokenizer; nobody wants it, so that it is an error.
GUESSING = 0.9

# Below: forward passes of the same numbers that differ only in rounding. Above: pixels that reach the loss.
NOISE = 1e-6
# Nats per token below which float32 cannot show that a loss moves: 1 - p is lost beside 1.
SURE = 1e-5


@dataclass(frozen=True, slots=True)
class Probe:
    """The loss of a micro-batch with its pixels, and with others."""

    other: torch.Tensor
    real: torch.Tensor | None = None


@torch.no_grad()
def probe_media(model: Any, family: WetFamily, batch: Batch, world: World) -> Probe | None:
    """Return the loss of a batch with every pixel changed, before the forward that trains; None: no rank has media.

    Before it and not after the backward: FSDP may keep gathered weights from a forward to the next backward, and here
    they are the same ones. Collective, also on a rank without media.
    """
    changed = family.disturb(batch)
    [having] = world.sum([float(changed is not None)])
    if not having:
        return None
    return Probe(model.training_loss(batch if changed is None else changed).detach())


def gate_conditioning(verdicts: Verdicts, probe: Probe | None, world: World) -> None:
    """Other pixels give another loss. Collective."""
    if probe is None or probe.real is None:
        verdicts.add("conditioning", tested=False, reason="no medium in the first steps")
        return
    real, other = float(probe.real), float(probe.other)
    moved = abs(real - other)
    total, moved_total = world.sum([real, moved])
    undecided = total < SURE
    dead = math.isfinite(moved_total) and moved_total <= NOISE * abs(total) and not undecided
    problems = [
        f"with every pixel of the first batch changed, its loss stays {total:.6g}; want another loss. The media do not "
        "reach the answer. Fix: look at the weights of the vision tower and the projector in the snapshot"
    ]
    verdicts.add("conditioning", problems if dead else (), tested=not undecided, loss=total, moved=moved_total)


def gate_supervised(verdicts: Verdicts, *, counted: int, planned: int, lost: int) -> None:
    """Collation supervises what the plan counted; `lost`: weight of samples that could not be loaded."""
    problems = []
    if counted == 0:
        problems.append(
            "no token of the first step is supervised; want at least one. Fix: look at the answers, and at "
            "custom.train_dataset"
        )
    if not planned - lost <= counted <= planned:
        problems.append(
            f"{counted} supervised tokens in the batches of the first step, the plan says {planned}"
            + (f" less {lost} of bad samples" if lost else "")
            + "; want the same. Fix: report this fault; no key of the spec causes it"
        )
    verdicts.add("supervised-tokens", problems, counted=counted, planned=planned, bad_samples=lost)


def gate_first_loss(verdicts: Verdicts, *, loss: float, chance: float, broken: float) -> None:
    """The first loss per supervised token is finite, and in the band of a base that was loaded."""
    problems, bound = [], broken * chance
    if not math.isfinite(loss):
        problems.append(
            f"the loss is {loss}; want a finite number. Fix: policy.model_name_or_path or train.param_dtype"
        )
    elif loss > bound:
        problems.append(
            f"the loss is {loss:.3f}; want at most {bound:.3f}, {broken} times that of a model that knows nothing "
            f"({chance:.3f}). The base was not loaded as it was trained. Fix: name the base that the spec means"
        )
    elif loss > GUESSING * chance:
        verdicts.warn(
            "first-loss",
            f"the base predicts no better than guessing does: its loss is {loss:.3f}, that of a model that "
            f"knows nothing {chance:.3f}. Expected of random weights only",
        )
    verdicts.add("first-loss", problems, loss=loss, uniform_guess=chance, bound=bound)


def group_of(model: nn.Module, family: WetFamily) -> dict[str, str]:
    """Return the group of each parameter: the block it is in, else the module that holds it.

    The two matrices of a LoRA layer are one group: A has no gradient and does not move while B is 0.
    """
    blocks = {id(block) for block in family.blocks(model)}
    roots = [clean_name(f"{name}.") for name, module in model.named_modules() if id(module) in blocks]
    groups = {}
    for name, _ in model.named_parameters():
        plain = clean_name(name)
        root = next((root for root in roots if plain.startswith(root)), None)
        groups[plain] = root.rstrip(".") if root else plain.rpartition(".")[0].partition(".lora_")[0]
    return groups


def gradient_norms(model: nn.Module, family: WetFamily, world: World) -> dict[str, dict[str, float]]:
    """Return the norm of the gradient of each group of each trained part. Collective; one transfer from the device."""
    groups, found = group_of(model, family), list(_squares(model))
    order = sorted({(family.part_of(name), groups[name]) for name, _ in found})
    sums = dict.fromkeys(order, 0.0)
    values = torch.stack([value.to(found[0][1].device) for _, value in found]).double().square().tolist()
    for (name, _), value in zip(found, values, strict=True):
        sums[family.part_of(name), groups[name]] += value
    norms: dict[str, dict[str, float]] = {}
    for (part, group), square in zip(order, world.sum([sums[key] for key in order]), strict=True):
        norms.setdefault(part, {})[group] = math.sqrt(square) if math.isfinite(square) else square
    return norms


def _squares(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the norm of this rank's part of each gradient. Replicas count twice, which neither 0 nor NaN minds."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            part = torch.zeros(1, device=local(parameter).device) if gradient is None else local(gradient)
            yield clean_name(name), torch.linalg.vector_norm(part, dtype=torch.float32)


def dead_groups(norms: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the groups whose gradient is zero or not finite.

    A whole group is never zero by construction: with LoRA, B starts at 0 and A has no gradient yet, but B has one.
    """
    return {group: norm for groups in norms.values() for group, norm in groups.items() if not 0 < norm < math.inf}


def gate_gradient(verdicts: Verdicts, norms: dict[str, dict[str, float]]) -> None:
    """The gradient reaches every block and module that is trained, and is finite."""
    problems = []
    for part, groups in norms.items():
        dead = dead_groups({part: groups})
        if dead:
            what = f"{part} ({len(dead)} of {len(groups)} blocks and modules)"
            seen = ", ".join(sorted({f"{norm:g}" for norm in dead.values()}))
            problems.append(
                f"the gradient of {what} is {seen}: {listed(list(dead))}; want > 0 and finite. "
                "Fix: freeze what cannot be trained (policy.freeze_pattern), or look at its base weights"
            )
    totals = {part: math.sqrt(sum(norm**2 for norm in groups.values())) for part, groups in norms.items()}
    parts: dict[str, JsonValue] = {part: norm if math.isfinite(norm) else None for part, norm in totals.items()}
    verdicts.add("gradient", problems, groups=sum(len(groups) for groups in norms.values()), parts=parts)
