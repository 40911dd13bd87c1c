"""Plans of Predict2: rectified flow with log-normal noise, leading frames given, one start of each clip, text by T5."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tao_runtime.data import cosmos_predict2 as dry
from tao_runtime.data.facts import Facts
from tao_runtime.plan.clip_costs import config_of
from tao_runtime.plan.diffusion import ConditionPlan, NoisePlan
from tao_runtime.plan.memory.fit import Devices, Fit
from tao_runtime.plan.memory.tokenizer import WAN21
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
from tao_runtime.spec.cosmos_predict2 import EvaluateSpec, InferenceSpec, TrainSpec

# `models/video2world_model.py` and `schedulers/rectified_flow_scheduler.py` of upstream.
NOISE = NoisePlan(
    objective="rectified_flow",
    draw="lognormal",
    mean=0.0,
    std=1.0,
    sigma_data=1.0,
    sigma_min=0.002,
    sigma_max=80.0,
    scale_by_frames=True,
    high_ratio=0.05,
    loss_scale=10.0,
)

COST = WorldCost(dry.NETWORKS, dry.to_original, WAN21, by_frame=True)


def make_world(spec: TrainSpec, facts: Facts) -> World:
    """Return what a training run of the family is."""
    model = spec.model
    noise = NOISE.model_copy(
        update={
            "loss_scale": model.loss_scale,
            "scale_by_frames": model.adjust_video_noise,
            "high_ratio": model.high_sigma_ratio,
        }
    )
    low, high = (
        model.min_num_conditional_frames,
        max(model.min_num_conditional_frames, model.max_num_conditional_frames),
    )
    condition = _condition(low, high, sigma=model.sigma_conditional, dropout=model.text_dropout)
    latent = latent_of(facts, dry.LATENT)
    return World(latent, noise, condition, dry.library_targets(model.lora_target_modules), COST)


def plan_train(spec: TrainSpec, facts: Facts) -> TrainPlan:
    """Return the plan of a training run."""
    world = make_world(spec, facts)
    rules = clip_rules(spec.dataloader_train, world.latent, every_start=False)
    return plan_world_train(spec, facts, world, rules)


def network_config(spec: TrainSpec, facts: Facts) -> Mapping[str, object]:
    """Return the configuration of the network: the base's, or the published one of its size."""
    return config_of(facts, dry.NETWORKS.get(spec.model.size))


def fit(spec: TrainSpec, plan: TrainPlan, facts: Facts, devices: Devices) -> Fit:
    """Return whether a run fits, and the nearest one that does. The plan is that of `devices.count` processes."""
    return fit_world(spec, plan, facts, devices, make_world(spec, facts))


def _condition(low: int, high: int, *, sigma: float, dropout: float) -> ConditionPlan:
    share = 1.0 / (high - low + 1)
    frames = dict.fromkeys(range(low, high + 1), share)
    return ConditionPlan(frames=frames, sigma=sigma, mask_channel=True, text_dropout=dropout)


def plan_evaluate(spec: EvaluateSpec, facts: Facts) -> VideoEvaluatePlan:
    """Return the plan of an evaluation: one latent frame is given, as where a picture is continued."""
    latent = latent_of(facts, dry.LATENT)
    world = World(latent, NOISE, _condition(1, 1, sigma=1e-4, dropout=0.0))
    frames = latent.frames(spec.dataset.num_frames)  # levels grow with the root of their number
    levels = fixed_sigmas(spec.evaluate.num_noise_levels, mean=NOISE.mean, std=NOISE.std, factor=math.sqrt(frames))
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
