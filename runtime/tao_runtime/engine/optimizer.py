"""The optimizer of a plan, on this rank's part of every parameter: one group per learning rate.

Adam's arithmetic is element by element, so it may run on the plain local tensors: no dispatch of distributed tensors,
which is a fifth of a step of a small model, and state that is named as the parameters are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.weights import clean_name, local
from tao_runtime.errors import RunError
from tao_runtime.plan.model import OptimizerPlan

OPTIMIZERS = {"AdamW": torch.optim.AdamW, "Adam": torch.optim.Adam}
MOMENTS = ("exp_avg", "exp_avg_sq")


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by the names they have in the base."""
    return {clean_name(name): value for name, value in model.named_parameters() if value.requires_grad}


class ShardOptimizer:
    """Steps the local parts of parameters, sharded or not. Its state exists from the start."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], rates: Mapping[str, float], plan: OptimizerPlan) -> None:
        """`rates`: the learning rate of each parameter, before the schedule's factor."""
        self.parameters = dict(parameters)
        with torch.no_grad():
            self.shards = {name: nn.Parameter(local(value.detach())) for name, value in parameters.items()}
        rows: dict[float, list[nn.Parameter]] = {}
        for name, shard in self.shards.items():
            rows.setdefault(rates[name], []).append(shard)
        self.inner = OPTIMIZERS[plan.name](
            [{"params": shards, "lr": rate, "base_lr": rate} for rate, shards in rows.items()],
            betas=plan.betas,
            eps=plan.eps,
            weight_decay=plan.weight_decay,
            fused=plan.implementation == "fused",
            foreach=plan.implementation == "foreach",
        )
        self.fused = plan.implementation == "fused"
        for shard in self.shards.values():
            # As torch makes it at the first step; made now, so that a checkpoint can be loaded and memory is known.
            self.inner.state[shard] = {
                "step": torch.zeros((), device=shard.device if self.fused else "cpu"),
                **{moment: torch.zeros_like(shard) for moment in MOMENTS},
            }
        self._reduce = _shard_groups(self.parameters.values())

    @torch.no_grad()
    def take_gradients(self) -> None:
        """Hand the local parts of the gradients to the optimizer."""
        for name, parameter in self.parameters.items():
            self.shards[name].grad = None if parameter.grad is None else local(parameter.grad)

    @torch.no_grad()
    def scale_gradients(self, factor: float) -> None:
        """Multiply every gradient."""
        gradients = [shard.grad for shard in self.shards.values() if shard.grad is not None]
        torch._foreach_mul_(gradients, factor)

    @torch.no_grad()
    def zero_non_finite(self) -> torch.Tensor:
        """Set numbers of the gradients that are not finite to 0; returns how many there were here, scalar."""
        gradients = [shard.grad for shard in self.shards.values() if shard.grad is not None]
        counts = [(~torch.isfinite(gradient)).sum() for gradient in gradients]
        for gradient in gradients:
            torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0, out=gradient)
        return torch.stack(counts).sum()

    @torch.no_grad()
    def clip(self, limit: float) -> torch.Tensor:
        """Scale the gradients to a global L2 norm of at most `limit` (0: leave them); returns the norm before."""
        shards = [shard for shard in self.shards.values() if shard.grad is not None]
        norm = torch.nn.utils.get_total_norm([shard.grad for shard in shards if shard.grad is not None])
        if self._reduce:
            square = norm.square()
            for group in self._reduce:
                dist.all_reduce(square, group=group)
            norm = square.sqrt()
        if limit > 0:
            torch.nn.utils.clip_grads_with_norm_(shards, limit, norm)
        return norm

    def step(self, *, skip: torch.Tensor | None = None) -> None:
        """Step. `skip`: a flag on the device; where it is 1, the fused kernels leave weight, moment and count alone."""
        if skip is not None:
            self.inner.found_inf = skip  # type: ignore[attr-defined]
        self.inner.step()
        if skip is not None:
            del self.inner.found_inf  # type: ignore[attr-defined]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for name, parameter in self.parameters.items():
            parameter.grad = self.shards[name].grad = None

    def set_lr(self, factor: float) -> None:
        """Set every group's rate to its base rate times `factor`."""
        for group in self.inner.param_groups:
            group["lr"] = group["base_lr"] * factor

    @property
    def lr(self) -> float:
        """Return the rate of the first group."""
        return float(self.inner.param_groups[0]["lr"])

    @torch.no_grad()
    def state(self) -> dict[str, torch.Tensor]:
        """Return moments, placed as their parameters and sharing their memory, and the step counts [parameters]."""
        found = {
            f"{moment}.{name}": _like(self.parameters[name], self.inner.state[shard][moment])
            for name, shard in self.shards.items()
            for moment in MOMENTS
        }
        counts = [self.inner.state[shard]["step"] for shard in self.shards.values()]
        return {**found, "steps": torch.stack(counts).cpu()}

    @torch.no_grad()
    def restore_counts(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the step counts of a state that was loaded; its moments are in place already."""
        for shard, count in zip(self.shards.values(), state["steps"], strict=True):
            self.inner.state[shard]["step"].copy_(count)


def make_optimizer(model: nn.Module, family: WetFamily, plan: OptimizerPlan) -> ShardOptimizer:
    """Return the optimizer of the trainable parameters. Each group keeps its base rate in `base_lr`.

    Raises:
        RunError: a key of lr_multipliers is in no trainable parameter's upstream name.
    """
    parameters = trainable(model)
    originals = {name: family.original_name(name) for name in parameters}
    for key in plan.lr_multipliers:
        if not any(key in original for original in originals.values()):
            raise RunError(f"optimizer.lr_multipliers: {key!r} is in the name of no parameter that is trained")

    def rate(name: str) -> float:
        factor = next((value for key, value in plan.lr_multipliers.items() if key in originals[name]), 1.0)
        return plan.lr.get(family.part_of(name), plan.lr["global"]) * factor

    return ShardOptimizer(parameters, {name: rate(name) for name in parameters}, plan)


def _like(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return a local tensor as a distributed one, placed as a parameter is."""
    if not isinstance(parameter, DTensor):
        return value
    return DTensor.from_local(
        value,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


def _shard_groups(parameters: object) -> list[dist.ProcessGroup]:
    """Return the process groups over which parameters are cut, without those of one process: the same for all."""
    layouts = {(each.device_mesh, tuple(each.placements)) for each in parameters if isinstance(each, DTensor)}  # type: ignore[attr-defined]
    assert len(layouts) <= 1, "every parameter is sharded over the same mesh"
    return [
        mesh.get_group(axis)
        for mesh, placements in layouts
        for axis, placement in enumerate(placements)
        if placement.is_shard() and mesh.size(axis) > 1
    ]
