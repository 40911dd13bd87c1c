"""Plans of the vision family: waver-drawn rectified flow over packed clips, the generator's tower trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tao_runtime.data import cosmos3_vision as dry
from tao_runtime.data.clips import ClipRules, LatentGeometry
from tao_runtime.data.facts import Facts
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.plan import structured
from tao_runtime.plan.clip_data import longest_clip, make_clip_dataset
from tao_runtime.plan.diffusion import ConditionPlan, DiffusionPlan, NoisePlan, TextPlan
from tao_runtime.plan.model import (
    LOAD_TIMEOUT_S,
    AnyPlan,
    DataPlan,
    EstimatePlan,
    LoadingPlan,
    ModelPlan,
    TrainPlan,
    VideoEvaluatePlan,
    VideoInferencePlan,
)
from tao_runtime.plan.video_answer import fixed_times, make_sampler, make_tuned, plan_video_inference
from tao_runtime.plan.world import LATENT_CACHE_BYTES, latent_of
from tao_runtime.spec.cosmos3_vision import EvaluateSpec, InferenceSpec, TrainSpec
from tao_runtime.spec.cosmos3_vision.train import ClipSource

TOKENIZER_BESIDE = "vae"  # folder of a model in the library's layout


def plan_train(spec: TrainSpec, facts: Facts) -> TrainPlan:
    """Return the plan of a training run."""
    mesh, data_parallel = structured.make_mesh(spec.model.parallelism, spec.trainer, facts)
    pack, data = pack_tokens(spec), spec.dataloader_train
    rules = clip_rules(data, max_tokens=pack, latent=latent_of(facts, dry.LATENT))
    (ref,) = spec.datasets()
    train = make_clip_dataset(facts, ref, rules)
    micro = 0 if pack else data.max_samples_per_batch or 1
    batch = structured.make_batch(spec.trainer, data_parallel, micro=micro, pack=pack, seed=data.seed)
    longest, record = longest_clip(facts, "train", rules)
    return TrainPlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        seed=data.seed,
        model=_model(spec, facts, pack),
        data=DataPlan(
            train=train,
            sampling=SamplingPlan(),
            clips=rules,
            prompt_format=dry.PROMPT_FORMAT,
            loading=LoadingPlan(num_workers=data.num_workers, timeout_s=LOAD_TIMEOUT_S),
            cache_bytes=LATENT_CACHE_BYTES,
        ),
        batch=batch.model_copy(update={"max_samples": data.max_samples_per_batch}),
        steps=structured.make_steps(spec.trainer, train.num_records, batch),
        optimizer=structured.make_optimizer(spec.optimizer, spec.trainer),
        schedule=structured.make_schedule(spec.scheduler, spec.trainer.max_iter),
        mesh=mesh,
        precision=structured.make_precision(spec.model, spec.trainer),
        checkpoint=structured.make_checkpoint(spec.checkpoint),
        validation=structured.no_validation(),
        logging=structured.make_logging(spec.job, spec.trainer),
        estimate=EstimatePlan(max_tokens=longest, max_tokens_record=record),
        diffusion=_diffusion(spec, facts),
        ema=structured.make_ema(spec.model.ema),
        recompute=structured.make_recompute(spec.model),
    )


def pack_tokens(spec: TrainSpec) -> int | None:
    """Return the tokens of a micro-batch: the smaller of the network's and the loader's limit. None: no limit."""
    limits = (spec.model.max_num_tokens_after_packing, spec.dataloader_train.max_sequence_length)
    return min((limit for limit in limits if limit is not None and limit > 0), default=None)


def clip_rules(data: ClipSource, *, max_tokens: int | None = None, latent: LatentGeometry = dry.LATENT) -> ClipRules:
    """Return how clips become samples."""
    return ClipRules(
        sizes=dry.SIZES[data.resolution],
        num_frames=None if data.num_video_frames == -1 else data.num_video_frames,
        min_frames=data.min_frames,
        max_duration_s=data.max_duration_s,
        interval_mode=data.temporal_interval_mode,
        selection=data.frame_selection,
        unit="clip",
        latent=latent,
        max_tokens=max_tokens,
    )


def _model(spec: TrainSpec, facts: Facts, pack: int | None) -> ModelPlan:
    model = spec.model
    lora = structured.make_lora(model.lora_rank, model.lora_alpha, dry.library_targets(model.lora_target_modules))
    base = facts.models.get("model")
    return ModelPlan(
        path=structured.place(spec.models()[0], facts),
        weights_sha256=base.weights_sha256 if base is not None else None,
        max_length=pack or 0,
        dtype=model.precision,
        lora=lora if model.lora_enabled else None,
        skip_loading=tuple(spec.checkpoint.keys_to_skip_loading),
    )


def _condition(data: ClipSource, *, dropout: float) -> ConditionPlan:
    """Return what is given clean; the shares are made to add up to 1, as upstream does."""
    total = sum(data.conditioning.values()) or 1.0
    frames = {int(count): share / total for count, share in data.conditioning.items() if count.isdigit()}
    return ConditionPlan(frames=frames, text_dropout=dropout)


def _diffusion(spec: TrainSpec, facts: Facts) -> DiffusionPlan:
    model, data = spec.model, spec.dataloader_train
    return DiffusionPlan(
        noise=NoisePlan(
            objective="rectified_flow",
            draw="waver",
            shift=model.shift or dry.SHIFTS[data.resolution],
            loss_scale=model.loss_scale,
            timestep_scale=1000.0,
        ),
        condition=_condition(data, dropout=data.caption_dropout),
        text=TextPlan(kind="joint", max_tokens=data.max_caption_tokens),
        tokenizer=structured.place(spec.models()[1], facts),
        latent_shape=None,
        network=model.size,
    )


def plan_evaluate(spec: EvaluateSpec, facts: Facts) -> VideoEvaluatePlan:
    """Return the plan of an evaluation."""
    rules, data, judge = clip_rules(spec.dataset), spec.dataset, spec.evaluate
    shift = dry.SHIFTS[data.resolution]
    return VideoEvaluatePlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        model=make_tuned(spec.model, facts),
        data=make_clip_dataset(facts, spec.datasets()[0], rules),
        clips=rules,
        diffusion=DiffusionPlan(
            noise=NoisePlan(objective="rectified_flow", draw="waver", shift=shift, timestep_scale=1000.0),
            condition=_condition(data, dropout=0.0),
            text=TextPlan(kind="joint", max_tokens=None),
            tokenizer=spec.model.vae_path or TOKENIZER_BESIDE,
            latent_shape=None,
            network="as loaded",
        ),
        sampler=make_sampler(judge, shift=shift),
        noise_levels=fixed_times(judge.num_noise_levels, shift=shift),
        num_videos=judge.num_videos,
        limit=judge.limit if judge.limit > 0 else None,
        world=facts.host.world_size or max(1, facts.host.num_gpus),
    )


def plan_inference(spec: InferenceSpec, facts: Facts) -> VideoInferencePlan:
    """Return the plan of an inference."""
    return plan_video_inference(spec, facts, shift=_nearest_shift(*spec.inference.size), has_encoder=False)


def _nearest_shift(height: int, width: int) -> float:
    """Return the shift of the tier whose frames have nearly so many pixels."""
    area = height * width
    return dry.SHIFTS[min(dry.SIZES, key=lambda tier: abs(dry.SIZES[tier][0][0] * dry.SIZES[tier][0][1] - area))]


PLANNERS: Mapping[str, Callable[..., AnyPlan]] = {
    "train": plan_train,
    "evaluate": plan_evaluate,
    "inference": plan_inference,
}
