"""What plans of evaluation and inference share where video is made."""

from __future__ import annotations

from typing import Any

from tao_runtime.data.facts import Facts
from tao_runtime.plan.diffusion import SamplerPlan
from tao_runtime.plan.model import ModelPlan, VideoInferencePlan
from tao_runtime.plan.structured import place
from tao_runtime.spec.base import Spec
from tao_runtime.spec.structured.video import JudgedModel, Sampling, TunedModel

NO_LIMIT = 1_000_000  # tokens: clips have a limit of their own

# Upstream's flag -> the part of a pipeline.
TEXT_ENCODER = "text_encoder"
OFFLOADED = {
    "offload_text_encoder_model": TEXT_ENCODER,
    "offload_diffusion_transformer": "transformer",
    "offload_tokenizer": "vae",
}


def make_tuned(model: TunedModel, facts: Facts) -> ModelPlan:
    """Return the model that is judged or asked, or the adapter and the base it is put on."""
    places = {ref.label: place(ref, facts) for ref in model.refs()}
    return ModelPlan(
        path=places["model"], base_path=places.get("base_model"), max_length=NO_LIMIT, dtype=model.precision
    )


def make_sampler(sampling: Sampling, *, shift: float = 1.0) -> SamplerPlan:
    return SamplerPlan(num_steps=sampling.num_steps, guidance=sampling.guidance, seed=sampling.seed, shift=shift)


def make_baseline(model: JudgedModel, facts: Facts) -> ModelPlan | None:
    """Return what is judged beside: what is named, else the base of an adapter or of a commit; None: nothing."""
    places = {ref.label: place(ref, facts) for ref in model.refs()}
    beside = places.get("baseline") or places.get("base_model") or (places["model"] if model.commit else None)
    return None if beside is None else ModelPlan(path=beside, max_length=NO_LIMIT, dtype=model.precision)


def judged(spec: Spec, facts: Facts) -> dict[str, Any]:
    """Return the fields of an evaluation's plan that every family fills alike."""
    judge, model = spec.evaluate, spec.model  # type: ignore[attr-defined]
    return {
        "family": spec.family,
        "spec_sha256": spec.sha256,
        "output_dir": spec.output_dir(),
        "model": make_tuned(model, facts),
        "commit": model.commit or None,
        "averaged": model.weights == "averaged",
        "baseline": make_baseline(model, facts),
        "num_reconstructions": judge.num_reconstructions,
        "num_videos": judge.num_videos,
        "limit": judge.limit if judge.limit > 0 else None,
        "world": facts.host.world_size or max(1, facts.host.num_gpus),
    }


def plan_video_inference(
    spec: Spec, facts: Facts, *, shift: float = 1.0, has_encoder: bool = True
) -> VideoInferencePlan:
    """Return the plan of an inference of any family that makes video. `has_encoder`: a part of it encodes text."""
    ask, model = spec.inference, spec.model  # type: ignore[attr-defined]
    return VideoInferencePlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        model=make_tuned(model, facts),
        tokenizer=model.vae_path or None,
        prompt=ask.prompt,
        prompts=ask.prompts_path or None,
        negative_prompt=ask.negative_prompt,
        input=ask.input_path or None,
        num_frames=ask.num_frames,
        size=ask.size,
        fps=ask.fps,
        sampler=make_sampler(ask, shift=shift),
        cp=ask.context_parallel_size,
        offload=tuple(
            part for key, part in OFFLOADED.items() if getattr(ask, key) and (has_encoder or part != TEXT_ENCODER)
        ),
        upsampler=next((place(ref, facts) for ref in ask.refs()), None),
        world=facts.host.world_size or max(1, facts.host.num_gpus),
    )
