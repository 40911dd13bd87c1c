"""The plan of a training run."""

from __future__ import annotations

from tao_runtime.data.cosmos_reason import PROMPT_FORMAT
from tao_runtime.data.facts import Facts, VisionGeometry
from tao_runtime.data.lengths import LengthSummary, summarise, token_bounds
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.plan.batches import num_steps
from tao_runtime.plan.cosmos_reason.memory import with_costs
from tao_runtime.plan.cosmos_reason.sets import make_dataset, make_place, make_sampling
from tao_runtime.plan.mesh import resolve_mesh
from tao_runtime.plan.model import (
    BadStepPlan,
    BatchPlan,
    CheckpointPlan,
    DataPlan,
    DatasetPlan,
    EstimatePlan,
    LoadingPlan,
    LoggingPlan,
    LoraPlan,
    MeshPlan,
    ModelPlan,
    OptimizerPlan,
    PrecisionPlan,
    Recompute,
    SchedulePlan,
    StepPlan,
    TrainPlan,
    ValidationPlan,
)
from tao_runtime.plan.split import split_records
from tao_runtime.spec.cosmos_reason import TrainSpec

# Names of the parts that a list of learning rates addresses, in upstream's order.
LR_PARTS = ("language_model", "visual", "projector", "lm_head")
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
RECOMPUTE: dict[str, Recompute] = {"true": "full", "false": "none", "selective": "selective"}
RESHARD = {"default": None, "always": True, "true": True, "never": False, "false": False}


def plan_train(spec: TrainSpec, facts: Facts) -> TrainPlan:
    """Return the plan of a training run."""
    degrees = spec.policy.parallelism
    mesh, data_parallel = resolve_mesh(
        {
            "dp_replicate": degrees.dp_replicate_size,
            "dp_shard": degrees.dp_shard_size,
            "cp": degrees.cp_size,
            "tp": degrees.tp_size,
            "pp": degrees.pp_size,
        },
        world=facts.host.world_size,
        num_devices=facts.host.num_gpus,
    )
    data = _data(spec, facts)
    batch = _batch(spec, data_parallel)
    steps = _steps(spec, data.train.num_records, batch)
    plan = TrainPlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        seed=spec.train.seed or 0,
        model=_model(spec, facts),
        data=data,
        batch=batch,
        steps=steps,
        optimizer=_optimizer(spec),
        schedule=_schedule(spec, steps),
        mesh=mesh,
        precision=_precision(spec),
        checkpoint=_checkpoint(spec, steps),
        validation=_validation(spec, steps),
        bad_steps=BadStepPlan(
            in_a_row=spec.train.bad_steps.in_a_row,
            then=spec.train.bad_steps.then,
            spike_factor=spec.train.bad_steps.spike_factor,
            max_rollbacks=spec.train.bad_steps.max_rollbacks,
        ),
        logging=LoggingPlan(
            loggers=tuple(spec.logging.logger),
            project=spec.logging.project_name,
            experiment=spec.logging.experiment_name,
            group=spec.logging.group_name,
            every_steps=spec.logging.log_interval,
        ),
        estimate=_estimate(spec, facts, mesh, data.sampling),
    )
    return with_costs(plan, facts)


def _model(spec: TrainSpec, facts: Facts) -> ModelPlan:
    lora, model = spec.policy.lora, facts.models.get("model")
    return ModelPlan(
        path=make_place(spec.models()[0], facts),
        revision=spec.policy.model_revision,
        weights_sha256=model.weights_sha256 if model else None,
        max_length=spec.policy.model_max_length,
        dtype=spec.train.param_dtype,
        lora=None
        if lora is None
        else LoraPlan(
            r=lora.r,
            alpha=lora.lora_alpha,
            dropout=lora.lora_dropout,
            target_modules=(lora.target_modules,)
            if isinstance(lora.target_modules, str)
            else tuple(lora.target_modules),
            modules_to_save=tuple(lora.modules_to_save or ()),
            use_rslora=lora.use_rslora,
            init=lora.init_lora_weights,
            rank_pattern=dict(lora.r_pattern or {}),
            alpha_pattern=dict(lora.alpha_pattern or {}),
        ),
        trainable_map=dict(spec.policy.trainable_map or {}),
        freeze_pattern=tuple(spec.policy.freeze_pattern or ()),
        trainable_pattern=tuple(spec.policy.trainable_pattern or ()),
    )


def _data(spec: TrainSpec, facts: Facts) -> DataPlan:
    policy, train, val = spec.train.train_policy, facts.datasets.get("train"), facts.datasets.get("val")
    mode = spec.custom.train_dataset.response_mode
    held_out: tuple[int, ...] = ()
    val_plan: DatasetPlan | None = None
    if spec.validation.enable and val is not None:
        val_mode = spec.custom.val_dataset.response_mode if spec.custom.val_dataset else mode
        val_plan = make_dataset(val, response_mode=val_mode)
    elif spec.validation.enable and train is not None and policy.dataset.test_size:
        held_out = split_records(train, policy.dataset.test_size, seed=policy.dataloader_seed)
        if held_out:
            val_plan = make_dataset(train, response_mode=mode).model_copy(
                update={"only": held_out, "exclude": (), "num_records": len(held_out)}
            )
    ref = spec.custom.train_dataset
    unknown = DatasetPlan(annotation=ref.annotation_path, media_root=ref.media_path, num_records=None)
    return DataPlan(
        train=make_dataset(train, held_out, mode) if train is not None else unknown,
        val=val_plan,
        sampling=make_sampling(spec.custom.vision),
        system_prompt=spec.custom.system_prompt,
        conversation_key=policy.conversation_column_name,
        prompt_format=PROMPT_FORMAT,
        loading=LoadingPlan(
            num_workers=policy.dataloader_num_workers,
            prefetch_factor=policy.dataloader_prefetch_factor,
            timeout_s=spec.train.load_timeout_s,
        ),
        cache_bytes=spec.train.frame_cache_bytes if policy.enable_dataset_cache else 0,
        bad_sample_budget=spec.train.bad_sample_budget,
    )


def _batch(spec: TrainSpec, data_parallel: int | None) -> BatchPlan:
    policy, per_rank = spec.train.train_policy, spec.train.train_batch_per_replica
    divides, by_tokens = per_rank % policy.mini_batch == 0, policy.load_balanced_max_tokens_for_batch
    return BatchPlan(
        per_rank=per_rank,
        micro=policy.mini_batch,
        micro_tokens=by_tokens,
        accumulation=per_rank // policy.mini_batch if divides and not by_tokens else None,
        data_parallel=data_parallel,
        global_batch=per_rank * data_parallel if data_parallel else None,
        shuffle=policy.dataloader_shuffle,
        seed=policy.dataloader_seed,
        drop_last=policy.dataloader_drop_last,
    )


def _steps(spec: TrainSpec, records: int | None, batch: BatchPlan) -> StepPlan:
    limit = spec.train.max_num_steps
    if records is None or batch.global_batch is None:
        return StepPlan(epochs=spec.train.epoch, per_epoch=None, total=None, limit=limit)
    per_epoch = num_steps(records, batch.global_batch, drop_last=batch.drop_last)
    total = per_epoch * spec.train.epoch
    return StepPlan(
        epochs=spec.train.epoch,
        per_epoch=per_epoch,
        total=min(total, limit) if limit else total,
        dropped_per_epoch=records - per_epoch * batch.global_batch if batch.drop_last else 0,
        limit=limit,
    )


def _optimizer(spec: TrainSpec) -> OptimizerPlan:
    train, rates = spec.train, spec.train.optm_lr
    lr = (
        {"global": rates}
        if isinstance(rates, float)
        else {"global": rates[0], **dict(zip(LR_PARTS, rates, strict=False))}
    )
    return OptimizerPlan(
        name=train.optm_name,
        lr=lr,
        betas=(train.optm_betas[0], train.optm_betas[1]),
        eps=train.epsilon,
        weight_decay=train.optm_weight_decay,
        implementation=train.optm_impl,
        grad_clip=train.optm_grad_norm_clip,
    )


def _schedule(spec: TrainSpec, steps: StepPlan) -> SchedulePlan:
    train = spec.train
    warmup = train.optm_warmup_steps
    if not warmup and steps.per_epoch is not None:
        warmup = round(train.optm_warmup_epochs * steps.per_epoch)
    ratio, total = train.optm_decay_ratio, steps.total
    return SchedulePlan(
        warmup_steps=warmup,
        decay_steps=None if ratio is None or total is None else round(ratio * total),
        decay=train.optm_decay_type,
        min_factor=train.optm_min_lr_factor,
        total_steps=total,
    )


def _precision(spec: TrainSpec) -> PrecisionPlan:
    train = spec.train
    return PrecisionPlan(
        master=train.master_dtype,
        compute=train.param_dtype,
        reduce=train.fsdp_reduce_dtype,
        reshard_after_forward=RESHARD[str(train.fsdp_reshard_after_forward).lower()],
        offload=train.fsdp_offload,
        activation_checkpointing=RECOMPUTE[str(spec.policy.model_gradient_checkpointing).lower()],
        compile=train.compile,
        deterministic=train.deterministic,
    )


def _checkpoint(spec: TrainSpec, steps: StepPlan) -> CheckpointPlan:
    ckpt, resume = spec.train.ckpt, spec.train.resume
    every = ckpt.save_freq or (ckpt.save_freq_in_epoch * steps.per_epoch if steps.per_epoch else None)
    return CheckpointPlan(
        enabled=ckpt.enable_checkpoint,
        every_steps=every,
        max_keep=ckpt.max_keep,
        mode=ckpt.save_mode,
        resume=resume is not False,  # a warm start that was interrupted goes on from its own commit
        warm_start=resume if isinstance(resume, str) and resume else None,
        export_safetensors=ckpt.export_safetensors,
    )


def _validation(spec: TrainSpec, steps: StepPlan) -> ValidationPlan:
    validation = spec.validation
    every = validation.freq or (validation.freq_in_epoch * steps.per_epoch if steps.per_epoch else None)
    return ValidationPlan(
        enabled=validation.enable,
        every_steps=every,
        before_train=validation.val_before_train,
        batch_size=validation.batch_size,
        loading=LoadingPlan(
            num_workers=validation.dataloader_num_workers,
            prefetch_factor=validation.dataloader_prefetch_factor,
            timeout_s=spec.train.load_timeout_s,
        ),
        cache=validation.enable_dataset_cache,
    )


def _estimate(spec: TrainSpec, facts: Facts, mesh: MeshPlan, sampling: SamplingPlan) -> EstimatePlan:
    model, train = facts.models.get("model"), facts.datasets.get("train")
    parameters = model.num_parameters if model else None
    trainable = parameters if spec.policy.lora is None else None
    state = checkpoint = None
    if parameters and mesh.dp_shard:
        master = BYTES[spec.train.master_dtype]
        moments = 3 * master * (trainable or 0)  # gradient and two Adam moments
        state = (master * parameters + moments) // mesh.dp_shard
        checkpoint = 3 * master * trainable if trainable else None
    geometry = model.geometry if model else VisionGeometry()
    spread = LengthSummary()
    if train is not None:
        spread = summarise(token_bounds(train, sampling, geometry, system_prompt=spec.custom.system_prompt)[1])
    return EstimatePlan(
        trainable_parameters=trainable,
        state_bytes_per_rank=state,
        checkpoint_bytes=checkpoint,
        max_tokens=spread.longest,
        max_tokens_record=spread.record,
        tokens_p50=spread.p50,
        tokens_p99=spread.p99,
    )
