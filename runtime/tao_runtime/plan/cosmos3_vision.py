"""Plans of the vision family: waver-drawn rectified flow over packed clips, the generator's tower trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue

from tao_runtime.data import cosmos3_vision as dry
from tao_runtime.data.clips import ClipRules, LatentGeometry
from tao_runtime.data.facts import Facts
from tao_runtime.data.lengths import summarise
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.plan import structured
from tao_runtime.plan.clip_costs import ClipNetwork, config_of, with_costs
from tao_runtime.plan.clip_data import clip_lengths, make_clip_dataset
from tao_runtime.plan.clip_time import with_time
from tao_runtime.plan.costs import spread
from tao_runtime.plan.diffusion import ConditionPlan, DiffusionPlan, NoisePlan, TextPlan
from tao_runtime.plan.memory.activations import Activations
from tao_runtime.plan.memory.estimate import BYTES
from tao_runtime.plan.memory.fit import Devices, Fit
from tao_runtime.plan.memory.learning import Learning
from tao_runtime.plan.memory.tokenizer import WAN22, tokenizer_of
from tao_runtime.plan.memory.two_towers import PackLoad, pack_activations, two_tower_network
from tao_runtime.plan.model import (
    LOAD_TIMEOUT_S,
    AnyPlan,
    DataPlan,
    LoadingPlan,
    ModelPlan,
    TrainPlan,
    VideoEvaluatePlan,
    VideoInferencePlan,
)
from tao_runtime.plan.noise import fixed_times
from tao_runtime.plan.structured_fit import (
    Change,
    Divides,
    Knob,
    adapters,
    as_it_is,
    changed,
    fit_plan,
    measured_once,
    micro_batches,
    option,
    packs,
    shared_knobs,
)
from tao_runtime.plan.video_answer import judged, make_sampler, plan_video_inference
from tao_runtime.plan.world import LATENT_CACHE_BYTES, latent_of
from tao_runtime.spec.cosmos3_vision import EvaluateSpec, InferenceSpec, TrainSpec
from tao_runtime.spec.cosmos3_vision.train import ClipSource

TOKENIZER_BESIDE = "vae"  # folder of a model in the library's layout
PACK_KEYS = ("model.max_num_tokens_after_packing", "dataloader_train.max_sequence_length")
BYTES_PER_TOKEN = 4.0  # of a caption, about
TEMPLATE_TOKENS = 40  # of chat, length and size around a caption
TEXT_SPREAD = (0.5, 1.0, 3.0)  # many clips of a pack are shorter than the longest, and bring a caption each
TEXT_SHARE = (0.0, 0.05, 0.15)  # of a pack's tokens, where no caption is known


def plan_train(spec: TrainSpec, facts: Facts) -> TrainPlan:
    """Return the plan of a training run."""
    mesh, data_parallel = structured.make_mesh(spec.model.parallelism, spec.trainer, facts)
    pack, data = pack_tokens(spec), spec.dataloader_train
    rules = clip_rules(data, max_tokens=pack, latent=latent_of(facts, dry.LATENT))
    (ref,) = spec.datasets()
    train = make_clip_dataset(facts, ref, rules)
    micro = 0 if pack else data.max_samples_per_batch or 1
    batch = structured.make_batch(spec.trainer, data_parallel, micro=micro, pack=pack, seed=data.seed)
    batch = batch.model_copy(update={"max_samples": data.max_samples_per_batch})
    lengths = clip_lengths(facts, "train", rules)
    plan = TrainPlan(
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
        batch=batch,
        steps=structured.make_steps(spec.trainer, train.num_records, batch, lengths=lengths),
        optimizer=structured.make_optimizer(spec.optimizer, spec.trainer),
        schedule=structured.make_schedule(spec.scheduler, spec.trainer.max_iter),
        mesh=mesh,
        precision=structured.make_precision(spec.model, spec.trainer),
        checkpoint=structured.make_checkpoint(spec.checkpoint),
        validation=structured.no_validation(),
        logging=structured.make_logging(spec.job, spec.trainer),
        estimate=spread(summarise(lengths)),
        diffusion=_diffusion(spec, facts),
        ema=structured.make_ema(spec.model.ema),
        recompute=structured.make_recompute(spec.model),
    )
    return with_time(with_costs(plan, facts, make_network(facts, spec.model.size)), facts)


def make_network(facts: Facts, size: str) -> ClipNetwork | None:
    """Return the network of a run for its memory: the base's, or the published one of its size."""
    network = two_tower_network(config_of(facts, dry.NETWORKS.get(size)))
    if network is None:
        return None
    text, model = _caption_tokens(facts), facts.models.get("tokenizer")

    def activations(plan: TrainPlan, place: int, learning: Learning) -> Activations:
        load = pack_load(plan, text, place)
        mode, compute = plan.precision.activation_checkpointing, BYTES[plan.precision.compute]
        return pack_activations(network, load, mode=mode, compute=compute, cp=plan.mesh.cp, learning=learning)

    config = model.config if model is not None else {}
    tokenizer = tokenizer_of(config, model.num_parameters if model else None, WAN22)
    return ClipNetwork(network, activations, dry.to_original, tokenizer)


def network_config(spec: TrainSpec, facts: Facts) -> Mapping[str, object]:
    """Return the configuration of the network: the base's, or the published one of its size."""
    return config_of(facts, dry.NETWORKS.get(spec.model.size))


def fit(spec: TrainSpec, plan: TrainPlan, facts: Facts, devices: Devices) -> Fit:
    """Return whether a run fits, and the nearest one that does. The plan is that of `devices.count` processes."""
    made_of, model = make_network(facts, spec.model.size), spec.model
    if made_of is None:
        return Fit(devices=devices, verdict="not known", memory=None)
    heads = config_of(facts, dry.NETWORKS.get(model.size))["num_attention_heads"]
    lora = structured.make_lora(model.lora_rank, model.lora_alpha, dry.library_targets(model.lora_target_modules))
    limits = [key for key in PACK_KEYS if _given(spec, key)]
    sizes = measured_once(made_of.sizes)
    knobs = [
        *shared_knobs(spec, plan, Divides(int(str(heads))), world=devices.count),
        packs(plan, limits, least=plan.estimate.max_tokens or 1024),
        micro_batches(plan, "dataloader_train.max_samples_per_batch"),
        adapters(plan, lora, {"model.lora_enabled": True, "optimizer.keys_to_select": ["lora_"]}, ("lora_",)),
        _tiers(spec, plan, facts, limits),
    ]
    return fit_plan(plan, devices, knobs, lambda one: made_of.memory(one, sizes(one)))


def _tiers(spec: TrainSpec, plan: TrainPlan, facts: Facts, limits: Sequence[str]) -> Knob:
    """Return the knob of smaller frames, in packs that shrink with them; `limits`: keys that limit a pack."""
    options, data, rules = [as_it_is()], spec.dataloader_train, plan.data.clips
    assert rules is not None
    tiers, area = list(dry.SIZES), max(map(math.prod, rules.sizes))
    for place, tier in enumerate(reversed(tiers[: tiers.index(data.resolution)])):
        smaller = rules.model_copy(update={"sizes": dry.SIZES[tier]})
        longest = int(clip_lengths(facts, "train", smaller).max(initial=0)) or None
        share = max(map(math.prod, smaller.sizes)) / area
        pack = plan.batch.pack_tokens and max(int(plan.batch.pack_tokens * share), longest or 1)
        overrides: dict[str, JsonValue] = {"dataloader_train.resolution": tier, **dict.fromkeys(limits, pack)}
        change = _of_tier(smaller.model_copy(update={"max_tokens": pack}), longest, was=plan.batch.pack_tokens)
        text = f"frames of the tier {tier}, as many clips in a pack: less to see"
        options.append(option(20 + 6 * place, overrides, text, change))
    return options


def _of_tier(rules: ClipRules, longest: int | None, *, was: int | None) -> Change:
    def change(plan: TrainPlan) -> TrainPlan | None:
        if plan.batch.pack_tokens != was:  # another knob says how large a pack is
            return None
        made = changed(changed(plan, "data", clips=rules), "batch", pack_tokens=rules.max_tokens)
        return changed(made, "estimate", max_tokens=longest)

    return change


def _given(spec: TrainSpec, key: str) -> bool:
    table, _, name = key.partition(".")
    value = getattr(getattr(spec, table), name)
    return value is not None and value > 0


def _caption_tokens(facts: Facts) -> float | None:
    """Return the tokens of the mean caption, about; None where no caption is known."""
    data = facts.datasets.get("train")
    sizes = None if data is None or data.windows is None else data.windows.caption_bytes
    return float(sizes.mean()) / BYTES_PER_TOKEN + TEMPLATE_TOKENS if sizes is not None and len(sizes) else None


def expected_load(plan: TrainPlan, facts: Facts) -> PackLoad:
    """Return the pack that is expected to be the largest."""
    return pack_load(plan, _caption_tokens(facts), 1)


def pack_load(plan: TrainPlan, text: float | None, place: int) -> PackLoad:
    """Return the largest pack of a plan. `text`: tokens of the mean caption; None: not known."""
    longest, pack, most = plan.estimate.max_tokens, plan.batch.pack_tokens, plan.batch.max_samples
    video = pack or (longest or 0) * plan.batch.micro
    if pack and longest and most:
        video = min(pack, longest * most)
    if text is None or not longest:
        return PackLoad(video, int(video * TEXT_SHARE[place]))
    return PackLoad(video, int(video / longest * text * TEXT_SPREAD[place]))


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
    rules, data, judge = clip_rules(spec.dataset, latent=latent_of(facts, dry.LATENT)), spec.dataset, spec.evaluate
    shift = dry.SHIFTS[data.resolution]
    return VideoEvaluatePlan(
        **judged(spec, facts),
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
