"""What clips are made with: processes that share one, and a model that writes prompts anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tao_runtime.data.facts import Facts
from tao_runtime.data.paths import is_dir
from tao_runtime.plan.model import VideoInferencePlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.structured import VIDEO

SIZE: Final = "inference.context_parallel_size"
UPSAMPLER: Final = "inference.prompt_upsampler_path"
WRITES: Final = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")


@rule(
    "video/clip-processes",
    "error",
    families=VIDEO,
    actions=("inference",),
    source="upstream splits latent frames over all processes; its own check is an assertion on every one of them",
)
def clip_processes(spec: Any, facts: Facts, plan: VideoInferencePlan) -> Iterator[Problem]:
    """The processes that make one clip divide all processes, the heads and, where frames are dealt, latent frames."""
    if plan.cp == 1:
        return
    if plan.world % plan.cp:
        saw = f"{plan.cp}, and {plan.world} processes"
        yield Problem(SIZE, saw, f"a divisor of {plan.world}", f"start {plan.cp} processes, or a multiple (--nproc)")
    model = facts.models.get("model")
    heads = model.config.get("num_attention_heads") if model is not None else None
    if isinstance(heads, int) and heads % plan.cp:
        yield Problem(SIZE, f"{plan.cp}, and the network has {heads} heads", f"a divisor of {heads}")
    frames = 1 + (plan.num_frames - 1) // spec.temporal
    if not spec.packs and frames % plan.cp:
        saw = f"{plan.cp}, and {plan.num_frames} frames are {frames} latent frames"
        whole = [number for number in range(1, frames + 1) if frames % number == 0]
        yield Problem(SIZE, saw, f"a divisor of {frames}: {', '.join(map(str, whole))}")


@rule(
    "video/idle-processes",
    "warning",
    families=VIDEO,
    actions=("inference",),
    source="upstream's --num_gpus is context parallelism; here the key says which of the two is meant",
)
def idle_processes(spec: Any, facts: Facts, plan: VideoInferencePlan) -> Iterator[Problem]:
    """There is a clip for every group of processes."""
    one = plan.prompts is None and not (plan.input and is_dir(Path(plan.input)))
    groups = plan.world // plan.cp
    if one and groups > 1 and plan.world % plan.cp == 0:
        saw = f"{plan.cp}, one clip and {plan.world} processes: {plan.world - plan.cp} have nothing to do"
        yield Problem(SIZE, saw, "as many as there are processes", f"set it to {plan.world}", {SIZE: plan.world})


@rule(
    "video/prompt-upsampler",
    "error",
    families=VIDEO,
    actions=("inference",),
    source="upstream's upsamplers are text models, Mistral NeMo 12B and Pixtral 12B; any that the library loads does",
)
def prompt_upsampler(spec: Any, facts: Facts, plan: VideoInferencePlan) -> Iterator[Problem]:
    """The model that writes prompts anew is one that writes text."""
    model = facts.models.get("prompt_upsampler")
    if model is None or model.directory is None:  # what is not here is named as a missing asset
        return
    named = model.config.get("architectures")
    kinds = [str(name) for name in named] if isinstance(named, list) else []
    if not any(kind.endswith(WRITES) for kind in kinds):
        saw = f"{model.directory}, a {kinds[0] if kinds else 'folder whose config.json names no architecture'}"
        yield Problem(UPSAMPLER, saw, "a model that writes text", "name one, or leave the key out")
    elif model.missing:
        yield Problem(UPSAMPLER, f"{model.directory} lacks {', '.join(model.missing[:3])}", "a whole model")
