"""Plans of Predict1: EDM with a learned variance, every start of every clip a sample, text by T5."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tao_runtime.data import cosmos_predict1 as dry
from tao_runtime.data.facts import Facts
from tao_runtime.plan.diffusion import ConditionPlan, NoisePlan
from tao_runtime.plan.model import AnyPlan, TrainPlan, VideoEvaluatePlan, VideoInferencePlan
from tao_runtime.plan.noise import fixed_sigmas
from tao_runtime.plan.video_answer import plan_video_inference
from tao_runtime.plan.world import (
    World,
    clip_rules,
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


def plan_train(spec: TrainSpec, facts: Facts) -> TrainPlan:
    """Return the plan of a training run."""
    model = spec.model
    noise = NOISE.model_copy(update={"loss_scale": model.loss_scale, "scale_by_frames": model.adjust_video_noise})
    condition = ConditionPlan(frames={0: 1.0}, text_dropout=model.text_dropout)
    latent = latent_of(facts, dry.LATENT)
    world = World(latent, noise, condition, dry.library_targets(model.lora_target_modules))
    return plan_world_train(spec, facts, world, clip_rules(spec.dataloader_train, latent, every_start=True))


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
