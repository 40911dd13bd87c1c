"""Plans of Predict1: EDM with a learned variance, every start of every clip a sample, text by T5."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tao_runtime.data import cosmos_predict1 as dry
from tao_runtime.data.facts import Facts
from tao_runtime.plan.clip_costs import config_of
from tao_runtime.plan.diffusion import ConditionPlan, NoisePlan
from tao_runtime.plan.memory.fit import Devices, Fit
from tao_runtime.plan.memory.tokenizer import CV8
from tao_runtime.plan.model import AnyPlan, TrainPlan, VideoEvaluatePlan, VideoInferencePlan
from tao_runtime.plan.noise import fixed_sigmas
from tao_runtime.plan.video_answer import plan_video_inference
from tao_runtime.plan.world import (
    World,
    WorldCost,
    clip_rules,
    fit_world,
    latent_of,
    plan_world_evaluate,
    plan_world_train,
)
from tao_runtime.spec.cosmos_predict1 import EvaluateSpec, InferenceSpec, TrainSpec

# `config/base/model.py` and `models/model_image.py` of upstream: what is used, not the class defaults of its SDE.
NOISE = NoisePlan(
    objective="edm",
    draw="lognormal",
    mean=0.0,
    std=1.0,
    sigma_data=0.5,
    sigma_min=0.0002,
    sigma_max=80.0,
    learned_variance=True,
)

# The uncertainty of the loss by noise level is trained with the network: a layer of 128 features.
HEAD, ORIGINAL_HEAD = "log_variance.head.weight", "net.logvar.1.weight"


def original_name(name: str) -> str:
    """Return the name that a parameter has in upstream's code."""
    return ORIGINAL_HEAD if name == HEAD else dry.to_original(name)


COST = WorldCost(dry.NETWORKS, original_name, CV8, added={HEAD: (1, 128)})


def make_world(spec: TrainSpec, facts: Facts) -> World:
    """Return what a training run of the family is."""
    model = spec.model
    noise = NOISE.model_copy(update={"loss_scale": model.loss_scale, "scale_by_frames": model.adjust_video_noise})
    condition = ConditionPlan(frames={0: 1.0}, text_dropout=model.text_dropout)
    latent = latent_of(facts, dry.LATENT)
    return World(latent, noise, condition, dry.library_targets(model.lora_target_modules), COST)


def plan_train(spec: TrainSpec, facts: Facts) -> TrainPlan:
    """Return the plan of a training run."""
    world = make_world(spec, facts)
    rules = clip_rules(spec.dataloader_train, world.latent, every_start=True)
    return plan_world_train(spec, facts, world, rules)


def network_config(spec: TrainSpec, facts: Facts) -> Mapping[str, object]:
    """Return the configuration of the network: the base's, or the published one of its size."""
    return config_of(facts, dry.NETWORKS.get(spec.model.size))


def fit(spec: TrainSpec, plan: TrainPlan, facts: Facts, devices: Devices) -> Fit:
    """Return whether a run fits, and the nearest one that does. The plan is that of `devices.count` processes."""
    return fit_world(spec, plan, facts, devices, make_world(spec, facts))


def plan_evaluate(spec: EvaluateSpec, facts: Facts) -> VideoEvaluatePlan:
    """Return the plan of an evaluation: of each clip its first frames, so that every clip counts once."""
    latent = latent_of(facts, dry.LATENT)
    world = World(latent, NOISE, ConditionPlan(frames={0: 1.0}, text_dropout=0.0))
    levels = fixed_sigmas(spec.evaluate.num_noise_levels, mean=NOISE.mean, std=NOISE.std)
    rules = clip_rules(spec.dataset, latent, every_start=False).model_copy(update={"selection": "first"})
    return plan_world_evaluate(spec, facts, world, rules, levels)


def plan_inference(spec: InferenceSpec, facts: Facts) -> VideoInferencePlan:
    """Return the plan of an inference."""
    return plan_video_inference(spec, facts)


PLANNERS: Mapping[str, Callable[..., AnyPlan]] = {
    "train": plan_train,
    "evaluate": plan_evaluate,
    "inference": plan_inference,
}
