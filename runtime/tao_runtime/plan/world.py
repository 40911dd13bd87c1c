"""What the plans of the Predict families share: clips of one length and size, T5 text, and samples per rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import JsonValue

from tao_runtime.data.clips import ClipRules, LatentGeometry
from tao_runtime.data.facts import Facts
from tao_runtime.data.lengths import summarise
from tao_runtime.data.t5 import MAX_TOKENS, WIDTH
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.plan import structured
from tao_runtime.plan.clip_costs import ClipNetwork, config_of, with_costs
from tao_runtime.plan.clip_data import clip_lengths, make_clip_dataset
from tao_runtime.plan.clip_time import with_time
from tao_runtime.plan.costs import spread
from tao_runtime.plan.diffusion import ConditionPlan, DiffusionPlan, NoisePlan, TextPlan
from tao_runtime.plan.memory.activations import Activations
from tao_runtime.plan.memory.estimate import BYTES
from tao_runtime.plan.memory.fit import Devices, Fit, Option
from tao_runtime.plan.memory.learning import Learning
from tao_runtime.plan.memory.text_video import ClipLoad, clip_activations, text_video_network
from tao_runtime.plan.memory.tokenizer import Tokenizer, tokenizer_of
from tao_runtime.plan.model import LOAD_TIMEOUT_S, DataPlan, LoadingPlan, ModelPlan, TrainPlan, VideoEvaluatePlan
from tao_runtime.plan.structured_fit import (
    Change,
    Divides,
    adapters,
    as_it_is,
    changed,
    fit_plan,
    fits_frames,
    measured_once,
    micro_batches,
    option,
    shared_knobs,
)
from tao_runtime.plan.video_answer import judged, make_sampler
from tao_runtime.spec.structured.world import FolderKeys

PROMPT_FORMAT = "t5/caption"
LATENT_CACHE_BYTES = 16 << 30  # of a run; 93 frames of 704x1280 in 16 channels are 22 MB: 780 windows
BESIDE_TOKENIZER, BESIDE_ENCODER = "vae", "text_encoder"  # folders of a model in the library's layout


@dataclass(frozen=True, slots=True)
class World:
    """What one of the families says of itself."""

    latent: LatentGeometry
    noise: NoisePlan
    condition: ConditionPlan
    targets: tuple[str, ...] = ()  # layers that get adapters, in the library's names
    cost: WorldCost | None = None  # of what is trained


@dataclass(frozen=True, slots=True)
class WorldCost:
    """What one of the families says of its network, for memory."""

    networks: Mapping[str, Mapping[str, object]]  # size -> configuration as published
    original_name: Callable[[str], str]
    tokenizer: Tokenizer  # as published
    by_frame: bool = False  # noise levels are a frame's, not a clip's
    added: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # parameters that training adds to the network


def clip_rules(data: FolderKeys, latent: LatentGeometry, *, every_start: bool) -> ClipRules:
    """Return how clips become samples: each possible start is one, or one start of each clip is drawn."""
    return ClipRules(
        sizes=((data.video_size[0], data.video_size[1]),),
        num_frames=data.num_frames,
        interval=data.sequence_interval,
        selection="first" if every_start else "random",
        unit="start" if every_start else "clip",
        start_interval=getattr(data, "start_frame_interval", 1),
        latent=latent,
    )


def latent_of(facts: Facts, default: LatentGeometry) -> LatentGeometry:
    """Return the geometry that the tokenizer's and the network's own files say; where they are silent, the family's."""
    tokenizer, network = _config(facts, "tokenizer") or _beside(facts), _network(facts)
    patches = network.get("patch_size", [network.get("latent_patch_size")])
    said: dict[str, object] = {
        "channels": tokenizer.get("z_dim", tokenizer.get("latent_channels")),
        "temporal": tokenizer.get("scale_factor_temporal", tokenizer.get("temporal_compression_ratio")),
        "spatial": tokenizer.get("scale_factor_spatial", tokenizer.get("spatial_compression_ratio")),
        "patch": patches[-1] if isinstance(patches, list) and patches else None,
    }
    return default.model_copy(update={name: value for name, value in said.items() if type(value) is int and value > 0})


def _config(facts: Facts, label: str) -> Mapping[str, object]:
    model = facts.models.get(label)
    return model.config if model is not None else {}


def _network(facts: Facts) -> Mapping[str, object]:
    """The network's configuration: an adapter has that of its base."""
    return _config(facts, "base_model") or _config(facts, "model")


def _beside(facts: Facts) -> Mapping[str, object]:
    """The configuration of the tokenizer in the model's own folder."""
    model = facts.models.get("base_model") or facts.models.get("model")
    return model.tokenizer if model is not None else {}


def _text(facts: Facts, encoder: str | None) -> TextPlan:
    """Return how captions are embedded: as wide as the network takes them, as long as the encoder's tokenizer says."""
    width, model = _network(facts).get("text_embed_dim"), facts.models.get("text_encoder")
    limit = model.text_length if model is not None and model.text_length else MAX_TOKENS
    return TextPlan(
        kind="t5", max_tokens=min(MAX_TOKENS, limit), width=width if type(width) is int else WIDTH, encoder=encoder
    )


def _diffusion(world: World, data: FolderKeys, facts: Facts, *, places: dict[str, str], network: str) -> DiffusionPlan:
    height, width = data.video_size
    return DiffusionPlan(
        noise=world.noise,
        condition=world.condition,
        text=_text(facts, places.get("text_encoder")),
        tokenizer=places.get("tokenizer", BESIDE_TOKENIZER),
        latent_shape=world.latent.shape(data.num_frames, height, width),
        network=network,
    )


def plan_world_train(spec: Any, facts: Facts, world: World, rules: ClipRules) -> TrainPlan:
    """Return the plan of a training run of a Predict family, whose spec has the shared sections."""
    model, trainer, data = spec.model, spec.trainer, spec.dataloader_train
    mesh, data_parallel = structured.make_mesh(model.parallelism, trainer, facts)
    places = {ref.label: structured.place(ref, facts) for ref in spec.models()}
    train = make_clip_dataset(facts, spec.datasets()[0], rules)
    batch = structured.make_batch(trainer, data_parallel, micro=data.batch_size, pack=None, seed=data.seed)
    lengths = clip_lengths(facts, "train", rules)
    base = facts.models.get("model")
    lora = structured.make_lora(model.lora_rank, model.lora_alpha, world.targets)
    plan = TrainPlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        seed=data.seed,
        model=ModelPlan(
            path=places["model"],
            weights_sha256=base.weights_sha256 if base is not None else None,
            max_length=rules.latent.tokens(data.num_frames, *data.video_size),
            dtype=model.precision,
            lora=lora if model.train_architecture == "lora" else None,
            skip_loading=tuple(spec.checkpoint.keys_to_skip_loading),
        ),
        data=DataPlan(
            train=train,
            sampling=SamplingPlan(),
            clips=rules,
            prompt_format=PROMPT_FORMAT,
            loading=LoadingPlan(num_workers=data.num_workers, timeout_s=LOAD_TIMEOUT_S),
            cache_bytes=LATENT_CACHE_BYTES,
        ),
        batch=batch,
        steps=structured.make_steps(trainer, train.num_records, batch),
        optimizer=structured.make_optimizer(spec.optimizer, trainer),
        schedule=structured.make_schedule(spec.scheduler, trainer.max_iter),
        mesh=mesh,
        precision=structured.make_precision(model, trainer),
        checkpoint=structured.make_checkpoint(spec.checkpoint),
        validation=structured.no_validation(),
        logging=structured.make_logging(spec.job, trainer),
        estimate=spread(summarise(lengths)),
        diffusion=_diffusion(world, data, facts, places=places, network=model.size),
        ema=structured.make_ema(model.ema),
        recompute=structured.make_recompute(model),
    )
    if world.cost is not None:
        plan = with_costs(plan, facts, world_network(world.cost, facts, model.size))
    return with_time(plan, facts)


def world_network(cost: WorldCost, facts: Facts, size: str) -> ClipNetwork | None:
    """Return the network of a Predict run for its memory: the base's, or the published one of its size."""
    network = text_video_network(config_of(facts, cost.networks.get(size)))
    if network is None:
        return None

    def activations(plan: TrainPlan, place: int, learning: Learning) -> Activations:
        clips, diffusion = plan.data.clips, plan.diffusion
        assert clips is not None and diffusion is not None and diffusion.latent_shape is not None
        tokens = clips.latent.tokens(clips.num_frames or 1, *clips.sizes[0])
        latents, text = math.prod(diffusion.latent_shape), diffusion.text.max_tokens or 0
        load = ClipLoad(plan.batch.micro, tokens, latents, text, cost.by_frame)
        mode, compute = plan.precision.activation_checkpointing, BYTES[plan.precision.compute]
        return clip_activations(network, load, mode=mode, compute=compute, cp=plan.mesh.cp, learning=learning)

    whole = replace(network, shapes={**network.shapes, **cost.added})
    model = facts.models.get("tokenizer")
    tokenizer = tokenizer_of(_config(facts, "tokenizer"), model.num_parameters if model else None, cost.tokenizer)
    return ClipNetwork(whole, activations, cost.original_name, tokenizer)


def fit_world(spec: Any, plan: TrainPlan, facts: Facts, devices: Devices, world: World) -> Fit:
    """Return whether a run of a Predict family fits, and the nearest one that does."""
    cost = world.cost
    made_of = world_network(cost, facts, spec.model.size) if cost else None
    if made_of is None or cost is None:
        return Fit(devices=devices, verdict="not known", memory=None)
    model, heads = spec.model, config_of(facts, cost.networks.get(spec.model.size))["num_attention_heads"]
    lora = structured.make_lora(model.lora_rank, model.lora_alpha, world.targets)
    sizes = measured_once(made_of.sizes)
    keys: dict[str, JsonValue] = {"optimizer.keys_to_select": []} if plan.optimizer.keys_to_select else {}
    knobs = [
        *shared_knobs(spec, plan, Divides(int(str(heads)), by_frame=True), world=devices.count),
        micro_batches(plan, "dataloader_train.batch_size"),
        adapters(plan, lora, {"model.train_architecture": "lora", **keys}),
        _smaller(plan),
    ]
    return fit_plan(plan, devices, knobs, lambda one: made_of.memory(one, sizes(one)))


def _smaller(plan: TrainPlan) -> list[Option]:
    """Return the knob of fewer frames, or smaller ones: half the latent frames, half of each side, or both."""
    rules = plan.data.clips
    assert rules is not None and rules.num_frames is not None
    step, latent = rules.latent.spatial * rules.latent.patch, rules.latent
    (height, width), frames = rules.sizes[0], latent.frames(rules.num_frames) // 2
    fewer = latent.temporal * (frames - 1) + 1 if frames else rules.num_frames
    small = max(step, height // 2 // step * step), max(step, width // 2 // step * step)
    options = [as_it_is()]
    for cost, count, size in ((20, fewer, (height, width)), (26, rules.num_frames, small), (34, fewer, small)):
        overrides: dict[str, JsonValue] = {}
        if count != rules.num_frames:
            overrides["dataloader_train.num_frames"] = count
        if size != (height, width):
            overrides["dataloader_train.video_size"] = list(size)
        text = f"samples of {count} frames of {size[0]}x{size[1]}: less to learn from"
        options.append(option(cost, overrides, text, _resized(count, size)))
    return options


def _resized(num_frames: int, size: tuple[int, int]) -> Change:
    def change(plan: TrainPlan) -> TrainPlan | None:
        rules = plan.data.clips
        assert rules is not None
        clips = rules.model_copy(update={"num_frames": num_frames, "sizes": (size,)})
        made = changed(
            changed(plan, "data", clips=clips), "diffusion", latent_shape=clips.latent.shape(num_frames, *size)
        )
        return made if fits_frames(made) else None

    return change


def plan_world_evaluate(
    spec: Any, facts: Facts, world: World, rules: ClipRules, levels: Sequence[float]
) -> VideoEvaluatePlan:
    """Return the plan of an evaluation of a Predict family."""
    places = {ref.label: structured.place(ref, facts) for ref in spec.models()}
    return VideoEvaluatePlan(
        **judged(spec, facts),
        data=make_clip_dataset(facts, spec.datasets()[0], rules),
        clips=rules,
        diffusion=_diffusion(
            world, spec.dataset, facts, places={"text_encoder": BESIDE_ENCODER, **places}, network="as loaded"
        ),
        sampler=make_sampler(spec.evaluate),
        noise_levels=tuple(levels),
    )
