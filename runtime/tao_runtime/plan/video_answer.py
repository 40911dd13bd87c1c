"""What plans of evaluation and inference share where video is made."""

from __future__ import annotations

import math
from statistics import NormalDist

from tao_runtime.data.facts import Facts
from tao_runtime.plan.diffusion import SamplerPlan
from tao_runtime.plan.model import ModelPlan, VideoInferencePlan
from tao_runtime.plan.structured import place
from tao_runtime.spec.base import Spec
from tao_runtime.spec.structured.video import Sampling, TunedModel

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
        path=places["model"], base_path=places.get("base_model"), max_length=1_000_000, dtype=model.precision
    )


def make_sampler(sampling: Sampling, *, shift: float = 1.0) -> SamplerPlan:
    return SamplerPlan(num_steps=sampling.num_steps, guidance=sampling.guidance, seed=sampling.seed, shift=shift)


def fixed_times(count: int, *, shift: float = 1.0) -> tuple[float, ...]:
    """Return `count` times spread evenly over (0, 1) and shifted: 2 without shift are 0.25 and 0.75."""
    even = ((number + 0.5) / count for number in range(count))
    return tuple(shift * time / (1 + (shift - 1) * time) for time in even)


def fixed_sigmas(count: int, *, mean: float, std: float) -> tuple[float, ...]:
    """Return the middles of `count` equal shares of a log-normal distribution of noise levels."""
    normal = NormalDist(mean, std)
    return tuple(math.exp(normal.inv_cdf((number + 0.5) / count)) for number in range(count))


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
