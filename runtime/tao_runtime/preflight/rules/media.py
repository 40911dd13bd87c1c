"""Rules about media that follow from headers and the sampling of frames."""

from __future__ import annotations

from collections.abc import Iterator

from tao_runtime.data.facts import Facts
from tao_runtime.plan.model import EvaluatePlan, InferencePlan, QuantizePlan, TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.spec.base import Spec


@rule(
    "media/fewer-frames",
    "warning",
    actions=("train", "evaluate", "inference", "quantize"),
    source="upstream readers fail on nframes above the frames of a video; here such a video gives what it has",
)
def fewer_frames(spec: Spec, facts: Facts, plan: object) -> Iterator[Problem]:
    """Every video has as many frames as the spec asks for; a shorter one gives all it has, and a shorter sample."""
    if isinstance(plan, TrainPlan) and plan.diffusion is None:
        sampling = plan.data.sampling
    elif isinstance(plan, EvaluatePlan | InferencePlan):
        sampling = plan.sampling
    elif isinstance(plan, QuantizePlan):
        sampling = plan.proof.sampling
    else:  # clips that become video have rules of their own
        return
    wanted = sampling.num_frames or sampling.min_frames
    name = "nframes" if sampling.num_frames else "min_frames"
    for ref in spec.datasets():
        data = facts.datasets.get(ref.label)
        if wanted is None or data is None:
            continue
        short = [one for one in data.media if one is not None and one.kind == "video" and one.num_frames < wanted]
        if short:
            least = min(short, key=lambda one: one.num_frames)
            saw = f"{len(short):,} of {len(data.media):,} videos have fewer than {name} = {wanted} frames"
            saw += f", {least.path.name} has {least.num_frames}"
            fix = f"set {name} to {least.num_frames}, or use longer videos"
            yield Problem(ref.media_key or ref.annotation_key, saw, "videos that are long enough", fix)
