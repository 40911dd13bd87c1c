"""What a plan says of clips, whichever action it is of: how they are cut, noised, described, and by what tokenised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tao_runtime.data.clips import ClipRules
from tao_runtime.data.snapshot import probe_model
from tao_runtime.errors import RunError
from tao_runtime.plan.diffusion import DiffusionPlan
from tao_runtime.plan.model import ClipsPlan, Dtype, TrainPlan, VideoEvaluatePlan
from tao_runtime.plan.world import LATENT_CACHE_BYTES
from tao_runtime.spec.base import ModelRef


@dataclass(frozen=True, slots=True)
class ClipSetup:
    """How a data set of clips is read."""

    rules: ClipRules
    diffusion: DiffusionPlan
    model: Path  # pipeline folder: what it has beside its network
    seed: int
    compute: Dtype
    cache_bytes: int  # of latents on disk, per run


def clip_setup(plan: ClipsPlan) -> ClipSetup:
    """Return what a plan says of clips.

    Raises:
        RunError: it says nothing.
    """
    if isinstance(plan, VideoEvaluatePlan):
        return _of_evaluation(plan)
    return _of_training(plan)


def _of_training(plan: TrainPlan) -> ClipSetup:
    if plan.data.clips is None or plan.diffusion is None:
        raise RunError(f"the plan of {plan.family} has no clips")
    compute, cache = plan.precision.compute, plan.data.cache_bytes
    return ClipSetup(plan.data.clips, plan.diffusion, Path(plan.model.path), plan.seed, compute, cache)


def _of_evaluation(plan: VideoEvaluatePlan) -> ClipSetup:
    """The text encoder lies beside the network, and says how long a text may be, as it does in training."""
    folder = Path(plan.model.base_path or plan.model.path)
    text = plan.diffusion.text
    if text.encoder is not None:
        encoder = folder / text.encoder
        length = probe_model(ModelRef("model", str(encoder), "model.path")).text_length
        limit = min(text.max_tokens or length or 0, length) if length else text.max_tokens
        text = text.model_copy(update={"encoder": str(encoder), "max_tokens": limit})
    setup = ClipSetup(
        plan.clips, plan.diffusion, folder, plan.sampler.seed, plan.model.dtype, cache_bytes=LATENT_CACHE_BYTES
    )
    return replace(setup, diffusion=plan.diffusion.model_copy(update={"text": text}))
