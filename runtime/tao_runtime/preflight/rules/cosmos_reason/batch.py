"""Batches, steps, validation and the device mesh: the arithmetic that decides whether a run trains at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tao_runtime.data.facts import Facts
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.spec.cosmos_reason import TrainSpec

BATCH, MINI = "train.train_batch_per_replica", "train.train_policy.mini_batch"
SHARD, REPLICATE = "policy.parallelism.dp_shard_size", "policy.parallelism.dp_replicate_size"
FEW_STEPS: Final = 10


@rule(
    "cosmos_reason/batch-divides",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="seed guide, critical overrides: upstream ends with an AssertionError after loading",
)
def batch_divides(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """The batch of a process is a multiple of its micro-batch, where that is counted in samples."""
    batch, micro = spec.train.train_batch_per_replica, spec.train.train_policy.mini_batch
    if batch % micro and plan.batch.micro_tokens is None:
        better = max(micro, round(batch / micro) * micro)
        yield Problem(BATCH, str(batch), f"a multiple of mini_batch = {micro}", f"set it to {better}", {BATCH: better})


@rule(
    "cosmos_reason/batch-exceeds-samples",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="seed guide, error patterns: zero steps, then 'NoneType' object has no attribute 'state_dict'",
)
def batch_exceeds_samples(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """The batch of a process is not larger than the samples it gets: otherwise an epoch has no step."""
    records, ranks, batch = plan.data.train.num_records, plan.batch.data_parallel, plan.batch.per_rank
    if not records or not ranks or plan.steps.per_epoch != 0:
        return
    samples, micro = records // ranks, plan.batch.micro
    data = facts.datasets.get("train")
    left = f" (of {data.num_records:,})" if data and data.num_records > records else ""
    saw = f"{batch}, but {records:,} records{left} / {ranks} data-parallel processes = {samples:,} samples each"
    if samples >= micro:
        better = samples // micro * micro
        yield Problem(BATCH, saw, f"at most {samples:,}", f"set it to {better}", {BATCH: better})
    elif samples:
        patch = {BATCH: samples, MINI: samples}
        yield Problem(BATCH, saw, f"at most {samples:,}", f"set it and mini_batch to {samples}", patch)
    else:
        yield Problem(BATCH, saw, "at least one sample each", "use fewer processes, or more records")


@rule(
    "cosmos_reason/few-steps",
    "warning",
    families=("cosmos_reason",),
    actions=("train",),
    source="warm-up, decay and validation mean nothing over a handful of steps",
)
def few_steps(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """A run has at least ten optimizer steps."""
    total, per_epoch = plan.steps.total, plan.steps.per_epoch
    if total and total < FEW_STEPS:
        if plan.steps.limit == total:  # asked for: a rehearsal
            return
        saw = f"optimizer steps: {total} (an epoch: {per_epoch}, epochs: {plan.steps.epochs})"
        yield Problem("train.epoch", saw, f"at least {FEW_STEPS}", "train more epochs, or use smaller batches")


@rule(
    "cosmos_reason/dropped-records",
    "note",
    families=("cosmos_reason",),
    actions=("train",),
    source="a run that says it trained on all of its data should have",
)
def dropped_records(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Every epoch visits every record."""
    dropped, records = plan.steps.dropped_per_epoch, plan.data.train.num_records
    if dropped and plan.steps.per_epoch:
        saw = f"{dropped} of {records} records do not fill a global batch of {plan.batch.global_batch} and are left out"
        key = "train.train_policy.dataloader_drop_last"
        if plan.batch.shuffle:
            yield Problem(key, f"{saw}, others each epoch", "none left out", "set it to false", {key: False})
        else:
            saw += ", the same in every epoch, as dataloader_shuffle is false"
            yield Problem(key, saw, "none left out", "set it to false", {key: False}, severity="error")


@rule(
    "cosmos_reason/warmup",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="the learning rate would never reach what the spec says",
)
def warmup(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Warm-up ends before the run does."""
    steps, total = plan.schedule.warmup_steps, plan.steps.total
    if steps and total and steps >= total:
        name = "train.optm_warmup_steps" if spec.train.optm_warmup_steps else "train.optm_warmup_epochs"
        patch = {"train.optm_warmup_steps": total // 10, "train.optm_warmup_epochs": 0}
        fix = f"set train.optm_warmup_steps to {total // 10}, and train.optm_warmup_epochs to 0"
        yield Problem(name, f"{steps} of {total} steps are warm-up", "fewer than the run has", fix, patch)


@rule(
    "cosmos_reason/mesh-product",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="seed guide: dp sizes against the process count; nothing is clamped",
)
def mesh_product(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """The product of the degrees is the number of processes."""
    degrees = spec.policy.parallelism
    if degrees.dp_shard_size == -1 and degrees.dp_replicate_size == -1:
        yield Problem(
            SHARD,
            "-1, and dp_replicate_size is -1 too",
            "at most one degree to infer",
            "set dp_replicate_size to 1",
            {REPLICATE: 1},
        )
    elif plan.batch.data_parallel is None:
        sizes = {
            "dp_replicate_size": degrees.dp_replicate_size,
            "dp_shard_size": degrees.dp_shard_size,
            "cp_size": degrees.cp_size,
            "tp_size": degrees.tp_size,
            "pp_size": degrees.pp_size,
        }
        text = " x ".join(f"{name} {size}" for name, size in sizes.items() if size != 1) or "all degrees 1"
        product = 1
        for size in sizes.values():
            product *= abs(size)
        inferred = -1 in sizes.values()
        saw = f"{text} = {product}, and {plan.mesh.world} processes"
        want = f"a divisor of {plan.mesh.world}" if inferred else f"the product to be {plan.mesh.world}"
        yield Problem(SHARD, saw, want, "set dp_shard_size to -1, or start as many processes as the product")


@rule(
    "cosmos_reason/mesh-axis",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="the engine replicates, shards, and cuts sequences by all-to-all over heads",
)
def mesh_axis(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Tensor and pipeline parallelism do not exist here; context parallelism divides the language model's heads."""
    degrees = spec.policy.parallelism
    for name in ("tp_size", "pp_size"):
        size = getattr(degrees, name)
        if size > 1:
            where = f"policy.parallelism.{name}"
            yield Problem(where, str(size), "1: this axis is not supported", "use dp_shard_size or cp_size", {where: 1})
    model = facts.models.get("model")
    text = model.config.get("text_config") if model else None
    if not isinstance(text, dict):
        return
    heads, keys = (text.get(name) for name in ("num_attention_heads", "num_key_value_heads"))
    cp, where = degrees.cp_size, "policy.parallelism.cp_size"
    if isinstance(heads, int) and heads % cp:
        yield Problem(where, str(cp), f"a divisor of the {heads} attention heads of the language model")
    elif isinstance(keys, int) and keys % cp and cp % keys:
        yield Problem(where, str(cp), f"a divisor or a multiple of the {keys} key-value heads of the language model")


@rule(
    "cosmos_reason/validation-source",
    "error",
    families=("cosmos_reason",),
    actions=("train",),
    source="seed guide: a validation set or the auto-split is there when a validation metric is wanted",
)
def validation_source(spec: TrainSpec, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """With validation on, there are records to validate on, and some left to train on."""
    if not spec.validation.enable or spec.custom.val_dataset is not None:
        return
    size, key = spec.train.train_policy.dataset.test_size, "train.train_policy.dataset.test_size"
    fix = "give custom.val_dataset, or set validation.enable=false"
    if not size:
        saw = "true, without custom.val_dataset and with test_size 0"
        yield Problem("validation.enable", saw, "records to validate on", fix, {"validation.enable": False})
    elif plan.data.val is None and plan.data.train.num_records:
        saw = f"{size}, of {plan.data.train.num_records:,} records: no whole clips can be held out"
        yield Problem(
            key, saw, "fewer records than there are, and at least two clips", fix, {"validation.enable": False}
        )
