"""From the sections of the structured dialect to the parts of a plan that every family of it has."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tao_runtime.data.facts import Facts
from tao_runtime.plan.batches import num_packs
from tao_runtime.plan.diffusion import CyclePlan, EmaPlan, RecomputePlan
from tao_runtime.plan.mesh import resolve_mesh
from tao_runtime.plan.model import (
    BatchPlan,
    CheckpointPlan,
    LoadingPlan,
    LoggingPlan,
    LoraPlan,
    MeshPlan,
    OptimizerPlan,
    PrecisionPlan,
    SchedulePlan,
    StepPlan,
    ValidationPlan,
)
from tao_runtime.spec.base import ModelRef
from tao_runtime.spec.structured.job import Job
from tao_runtime.spec.structured.loop import Checkpoint, Optimizer, Scheduler, Trainer
from tao_runtime.spec.structured.model import Ema, Parallelism
from tao_runtime.spec.structured.model import Model as NetworkModel

DECAYS = {"constant": "none", "lambdalinear": "linear", "lambdacosine": "cosine"}


def place(ref: ModelRef, facts: Facts) -> str:
    """Return the directory of a model, also of one in the hub's cache; as given where it is not on this machine."""
    model = facts.models.get(ref.label)
    return str(model.directory) if model is not None and model.directory is not None else ref.location


def make_mesh(parallelism: Parallelism, trainer: Trainer, facts: Facts) -> tuple[MeshPlan, int | None]:
    """Return the mesh and the data-parallel size. A group of upstream's sharding is min(group, world) / cp shards."""
    degrees = {
        "dp_replicate": parallelism.data_parallel_replicate_degree,
        "dp_shard": parallelism.data_parallel_shard_degree,
        "cp": parallelism.context_parallel_shard_degree,
        "tp": 1,
        "pp": 1,
        "cfg": parallelism.cfg_parallel_shard_degree,
    }
    world, group = facts.host.world_size, getattr(parallelism, "fsdp_group_size", None)
    size = world or facts.host.num_gpus
    if trainer.distributed_parallelism == "ddp":
        degrees.update(dp_shard=1, dp_replicate=-1)
    elif group and degrees["dp_shard"] == -1 and size and min(group, size) % degrees["cp"] == 0:
        degrees.update(dp_shard=max(1, min(group, size) // degrees["cp"]), dp_replicate=-1)
    return resolve_mesh(degrees, world=world, num_devices=facts.host.num_gpus)


def make_optimizer(optimizer: Optimizer, trainer: Trainer) -> OptimizerPlan:
    clip = trainer.callbacks.grad_clip
    return OptimizerPlan(
        name="AdamW",
        lr={"global": optimizer.lr},
        betas=(optimizer.betas[0], optimizer.betas[1]),
        eps=optimizer.eps,
        weight_decay=optimizer.weight_decay,
        implementation="fused" if optimizer.fused else "foreach",
        grad_clip=clip.clip_norm,
        force_finite=clip.force_finite,
        keys_to_select=tuple(optimizer.keys_to_select),
        lr_multipliers=dict(optimizer.lr_multipliers),
    )


def make_schedule(scheduler: Scheduler, total: int) -> SchedulePlan:
    """Return the schedule. Lists of another length than cycle_lengths repeat their last entry; preflight says so."""
    count = len(scheduler.cycle_lengths)

    def nth(values: tuple[float, ...] | tuple[int, ...], number: int) -> float:
        return values[min(number, len(values) - 1)]

    cycles = tuple(
        CyclePlan(
            length=scheduler.cycle_lengths[number],
            warmup=int(nth(scheduler.warm_up_steps, number)),
            start=nth(scheduler.f_start, number),
            peak=nth(scheduler.f_max, number),
            floor=nth(scheduler.f_min, number),
        )
        for number in range(count)
    )
    return SchedulePlan(
        warmup_steps=cycles[0].warmup,
        decay=DECAYS[scheduler.name],  # type: ignore[arg-type]
        min_factor=cycles[-1].floor,
        total_steps=total,
        cycles=cycles,
    )


def make_precision(model: NetworkModel, trainer: Trainer) -> PrecisionPlan:
    master = model.parallelism.fsdp_master_dtype
    return PrecisionPlan(
        master=master,
        compute=model.precision,
        reduce=master,
        activation_checkpointing=model.activation_checkpointing.mode,
        compile=model.compile.enabled,
    )


def make_recompute(model: NetworkModel) -> RecomputePlan:
    table = model.activation_checkpointing
    return RecomputePlan(
        mode=table.mode,
        keep_operations=tuple(table.save_ops_regex) if table.mode == "selective" else (),
        preserve_random_state=table.preserve_rng_state,
        check=table.determinism_check,
    )


def make_ema(ema: Ema) -> EmaPlan | None:
    return EmaPlan(rate=ema.rate, shift=ema.iteration_shift) if ema.enabled else None


def make_lora(rank: int, alpha: float, targets: tuple[str, ...]) -> LoraPlan:
    """Return the adapters; `targets` are the names that the library's network has."""
    return LoraPlan(
        r=rank,
        alpha=alpha,
        dropout=0.0,
        target_modules=targets,
        modules_to_save=(),
        use_rslora=False,
        init=True,
        rank_pattern={},
        alpha_pattern={},
    )


def make_checkpoint(checkpoint: Checkpoint, *, warm_start: str | None = None) -> CheckpointPlan:
    return CheckpointPlan(
        enabled=True,
        every_steps=checkpoint.save_iter,
        max_keep=checkpoint.max_keep,
        mode="sync",
        resume=True,
        warm_start=warm_start,
        export_safetensors=True,
    )


def make_logging(job: Job, trainer: Trainer) -> LoggingPlan:
    on = job.wandb_mode != "disabled"
    return LoggingPlan(
        loggers=("console", "wandb") if on else ("console",),
        project=job.project,
        experiment=job.name,
        group=job.group or None,
        every_steps=trainer.logging_iter,
        offline=job.wandb_mode == "offline",
    )


def no_validation() -> ValidationPlan:
    return ValidationPlan(enabled=False, every_steps=None, batch_size=1, loading=LoadingPlan())


def make_batch(trainer: Trainer, data_parallel: int | None, *, micro: int, pack: int | None, seed: int) -> BatchPlan:
    """Return the batch: `micro` samples, or (0) as many as `pack` tokens hold, times grad_accum_iter, times ranks."""
    per_rank = micro * trainer.grad_accum_iter
    return BatchPlan(
        per_rank=per_rank,
        micro=micro,
        pack_tokens=pack,
        accumulation=trainer.grad_accum_iter,
        data_parallel=data_parallel,
        global_batch=per_rank * data_parallel if data_parallel and micro else None,
        shuffle=True,
        seed=seed,
        drop_last=True,
    )


def make_steps(
    trainer: Trainer, records: int | None, batch: BatchPlan, *, lengths: npt.NDArray[np.int32] | None = None
) -> StepPlan:
    """Return the steps: their number is given; an epoch is known where a batch is a number of samples.

    `lengths`: tokens of the samples, which say how many packs they fill; those of 0 are not used.
    """
    known = records is not None and batch.global_batch
    per_epoch = records // batch.global_batch if known and records is not None and batch.global_batch else None
    samples = _samples(batch, records, lengths)
    return StepPlan(
        epochs=None,
        per_epoch=per_epoch,
        total=trainer.max_iter,
        dropped_per_epoch=records - per_epoch * batch.global_batch
        if records is not None and per_epoch is not None and batch.global_batch
        else None,
        samples=samples,
        passes=trainer.max_iter * samples / records if samples and records else None,
    )


def _samples(batch: BatchPlan, records: int | None, lengths: npt.NDArray[np.int32] | None) -> float | None:
    """Return the samples of a step; of packs, as many as fill them on average."""
    if batch.pack_tokens is None:
        return batch.global_batch
    used = lengths[lengths > 0] if lengths is not None else np.zeros(0, np.int32)
    if not len(used) or not records or not batch.data_parallel or not batch.accumulation:
        return None
    size = batch.accumulation * batch.data_parallel
    return records * size / num_packs(used, batch.pack_tokens, most=batch.max_samples, enough=size)
