"""Rules about the machine: does the run fit its memory and its disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tao_runtime.data.facts import Facts
from tao_runtime.errors import Severity
from tao_runtime.plan.memory.fit import USABLE, Devices, judge
from tao_runtime.plan.model import Plan, TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.spec.base import Spec

TIGHT: Final = 0.8  # share of memory that weights and optimizer state may take before activations lack room
_FITS = "out of memory or disk in the middle of a run costs all that was not saved"


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"


def _only_plans(facts: Facts) -> bool:
    """Whether this machine has neither a GPU nor the base: it says what a run needs, and will not run it."""
    base = facts.models.get("model")
    return facts.host.num_gpus == 0 and base is not None and base.directory is None and not base.is_file


@rule("host/memory", "error", actions=("train",), source=_FITS)
def memory(spec: Spec, facts: Facts, plan: Plan | None) -> Iterator[Problem]:
    """Weights, gradients and optimizer state of one process fit its device, with room left for activations."""
    if not isinstance(plan, TrainPlan) or plan.estimate.state_bytes_per_rank is None:
        return
    need, host, whole = plan.estimate.state_bytes_per_rank, facts.host, plan.estimate.memory
    where = next((ref.key for ref in spec.models()), "model")
    if host.gpu_memory_bytes and whole is not None:
        verdict = judge(whole, Devices(count=1, memory_bytes=int(host.gpu_memory_bytes * USABLE)))
        if verdict != "fits":
            saw = f"about {_size(int(whole.total.expected))} ({_size(int(whole.total.low))} to"
            saw += f" {_size(int(whole.total.high))}) needed of the GPU's {_size(host.gpu_memory_bytes)}"
            fix = f"tao-run plan --fit {mesh_text(plan, host.gpu_memory_bytes)} says what would fit"
            yield Problem(where, saw, "room for all of it", fix, severity="warning" if verdict == "tight" else "error")
        return
    if host.gpu_memory_bytes and not plan.precision.offload:
        have, what = host.gpu_memory_bytes, "the GPU's"
    else:
        here = min(plan.mesh.world, host.num_gpus) if host.num_gpus else plan.mesh.world
        need, have, what = need * here, host.memory_bytes, f"the host's, for {here} processes,"
    if need > TIGHT * have:
        saw = f"{_size(need)} of weights, gradients and optimizer state in {what} {_size(have)}"
        fix = "use more data-parallel shards, LoRA, or offloading"
        severity: Severity = "error" if need > have and not _only_plans(facts) else "warning"
        yield Problem(where, saw, f"at most {TIGHT:.0%} of it", fix, severity=severity)


def mesh_text(plan: TrainPlan, memory_bytes: int) -> str:
    """Return the devices as `plan --fit` reads them."""
    return f"{plan.mesh.world}x{round(memory_bytes / 2**30)}GB"


@rule("host/disk", "error", actions=("train",), source=_FITS)
def disk(spec: Spec, facts: Facts, plan: Plan | None) -> Iterator[Problem]:
    """The disk holds one checkpoint more than are kept, as the old one goes when the new one is whole, and latents."""
    if not isinstance(plan, TrainPlan) or not plan.checkpoint.enabled or not plan.estimate.checkpoint_bytes:
        return
    latents = plan.estimate.latents_bytes or 0
    one, free = plan.estimate.checkpoint_bytes, facts.host.free_disk_bytes
    total, every, keep = plan.steps.total, plan.checkpoint.every_steps, plan.checkpoint.max_keep
    made = -(-total // every) if total and every else 1
    count = min(made, keep + 1) if keep > 0 else made
    export = (plan.estimate.export_bytes or 0) * plan.checkpoint.export_safetensors
    if one * count + export + latents <= free:
        return
    saw = f"{_size(free)} free, and {count} checkpoints of {_size(one)} are {_size(one * count)}"
    saw += f", the export {_size(export)}" if export else ""
    saw += f", latents of clips up to {_size(latents)}" if latents else ""
    severity: Severity = "error" if min(count, 2) * one > free and not _only_plans(facts) else "warning"
    yield Problem(
        spec.output_dir(), saw, "room for all of them", "keep fewer checkpoints, or use another disk", severity=severity
    )
