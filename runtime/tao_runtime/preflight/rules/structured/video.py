"""What is made into video: frames, sizes, what is left out, context parallelism, conditioning, captions, requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tao_runtime.data.clips import REASONS, ClipRules
from tao_runtime.data.facts import Facts
from tao_runtime.data.families import network_names
from tao_runtime.errors import Severity
from tao_runtime.plan.clip_data import first_dropped
from tao_runtime.plan.model import ClipsPlan, TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.structured import VIDEO
from tao_runtime.preflight.rules.structured.run import CP

TRAINED: Final = ("train", "evaluate")


def table_of(spec: Any) -> str:
    """The table that names the clips."""
    return "dataloader_train" if spec.action == "train" else "dataset"


def rules_of(plan: ClipsPlan) -> ClipRules:
    rules = plan.data.clips if isinstance(plan, TrainPlan) else plan.clips
    assert rules is not None
    return rules


def _data(plan: ClipsPlan) -> Any:
    return plan.data.train if isinstance(plan, TrainPlan) else plan.data


@rule(
    "video/frame-count",
    "error",
    families=VIDEO,
    actions=("train", "evaluate", "inference"),
    source="the tokenizers' first frame stands alone: upstream's shapes differ mid-run",
)
def frame_count(spec: Any, facts: Facts, plan: Any) -> Iterator[Problem]:
    """The number of frames is one that the video tokenizer takes: 4 N + 1, or 8 N + 1."""
    if spec.action == "inference":
        where, count, temporal = "inference.num_frames", spec.inference.num_frames, spec.temporal
    else:
        rules = rules_of(plan)
        where, count, temporal = f"{table_of(spec)}.num_frames", rules.num_frames, rules.latent.temporal
        where = where.replace("num_frames", "num_video_frames") if spec.packs else where
    if count is not None and (count - 1) % temporal:
        low = (count - 1) // temporal * temporal + 1
        saw, want = str(count), f"{temporal} N + 1: {low} or {low + temporal}"
        yield Problem(where, saw, want, f"set it to {low}", {where: low})


@rule(
    "video/size",
    "error",
    families=VIDEO,
    actions=("train", "evaluate", "inference"),
    source="the tokenizers halve each side three or four times",
)
def size(spec: Any, facts: Facts, plan: Any) -> Iterator[Problem]:
    """Height and width are multiples of the tokenizer's step."""
    if spec.action == "inference":
        where, step = "inference.size", spec.spatial
        sizes: tuple[tuple[int, int], ...] = (spec.inference.size,)
    else:
        rules = rules_of(plan)
        where, step, sizes = f"{table_of(spec)}.video_size", rules.latent.spatial, rules.sizes
    for height, width in sizes:
        if height % step or width % step:
            better = [max(step, round(side / step) * step) for side in (height, width)]
            yield Problem(where, f"{height}x{width}", f"multiples of {step}", f"set it to {better}", {where: better})


@rule(
    "video/no-samples",
    "error",
    families=VIDEO,
    actions=TRAINED,
    source="upstream's loader spins for ever on a data set of which it drops everything",
)
def no_samples(spec: Any, facts: Facts, plan: ClipsPlan) -> Iterator[Problem]:
    """Some clip gives a sample, and every rank gets one in each step."""
    data = _data(plan)
    where = f"{table_of(spec)}.{'dataset_path' if spec.packs else 'dataset_dir'}"
    if data.num_records == 0 and data.dropped:
        saw = f"no sample: {_counts(data.dropped)}"
        if set(data.dropped) == {"unusable"}:
            yield Problem(where, saw, "clips that can be used", "repair what the errors about records name")
        else:
            yield Problem(where, saw, "clips that are long enough", "ask for fewer frames, or give longer clips")
    elif isinstance(plan, TrainPlan) and data.num_records and plan.steps.per_epoch == 0:
        saw = f"{data.num_records} samples, and a global batch of {plan.batch.global_batch}"
        yield Problem(where, saw, "at least one global batch", "use fewer processes, or give more clips")


@rule(
    "video/dropped",
    "warning",
    families=VIDEO,
    actions=TRAINED,
    source="a run that says it trained on all of its data should have; upstream drops with a log line",
)
def dropped(spec: Any, facts: Facts, plan: ClipsPlan) -> Iterator[Problem]:
    """Every window gives a sample; what does not is counted by reason."""
    data, seen = _data(plan), facts.datasets.get("train" if spec.action == "train" else "eval")
    reasons = [reason for reason in data.dropped if reason != "unusable"] if data.num_records else []
    first = first_dropped(seen, rules_of(plan), reasons) if seen is not None and reasons else {}
    for reason, (record, drop) in first.items():
        header = seen.media[int(seen.columns.media_of(record)[0])] if seen is not None else None
        name = header.path.name if header is not None else "no file"
        saw = f"{data.dropped[reason]:,} windows left out ({reason}): {REASONS[drop.reason]}"
        yield Problem(
            f"{table_of(spec)}.{'dataset_path' if spec.packs else 'dataset_dir'}",
            f"{saw}; the first is of {name}: {drop.saw:g}, and {drop.want:g} wanted",
            "none left out",
            record=record,
            file=data.annotation,
        )


def _counts(dropped: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in dropped.items())


@rule(
    "video/context-parallel",
    "error",
    families=VIDEO,
    actions=("train",),
    source="upstream splits latent frames over the ranks of a group, and heads by an all-to-all",
)
def context_parallel(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """The context-parallel degree divides the heads and, where samples have one length, their latent frames."""
    degree, base = plan.mesh.cp, facts.models.get("model")
    said = base.config.get("num_attention_heads") if base is not None else None
    heads = said if isinstance(said, int) else network_names(spec.family).HEADS[spec.model.size]
    if degree > 1 and heads % degree:
        # Upstream's ring of keys and values has no such limit; heads that are dealt out by an all-to-all do.
        severity: Severity = "warning" if spec.ring_attention else "error"
        saw = f"{degree}, and the network has {heads} heads"
        yield Problem(CP, saw, f"a divisor of {heads}, where heads are dealt to the processes", severity=severity)
    shape = plan.diffusion.latent_shape if plan.diffusion else None
    if degree > 1 and shape is not None and shape[1] % degree:
        yield Problem(CP, f"{degree}, and a sample has {shape[1]} latent frames", f"a divisor of {shape[1]}")


@rule(
    "video/base-size",
    "error",
    families=VIDEO,
    actions=("train",),
    source="every number that hangs on the size is wrong, or upstream refuses the tensors one by one",
)
def base_size(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """The base is a network of model.size, as its own configuration says."""
    model, names, size = facts.models.get("model"), network_names(spec.family), spec.model.size
    config = model.config if model is not None else {}
    if any(key not in config for key in names.SHAPE):
        return
    found = [config[key] for key in names.SHAPE]
    sizes = [each for each, network in names.NETWORKS.items() if [network[key] for key in names.SHAPE] == found]
    if size in sizes:
        return
    text = ", ".join(f"{key} {config[key]}" for key in names.SHAPE)
    if sizes:
        saw = f"{size}, and the base has {text}"
        yield Problem("model.size", saw, sizes[0], f"set it to {sizes[0]}", {"model.size": sizes[0]})
    else:
        yield Problem("model.size", f"{size}, and the base is of no published size: {text}", size, severity="note")


@rule(
    "video/base-file",
    "error",
    families=VIDEO,
    actions=("train",),
    source="upstream's files are pickles whose tensors have names of their own; the library's network is trained here",
)
def base_file(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """The base is a pipeline folder, not one of upstream's files."""
    model = facts.models.get("model")
    if model is not None and model.is_file:
        fix = f"tao-run convert {model.location} --family {spec.family} --like PIPELINE --out DIR, and name DIR"
        want = "a pipeline folder of diffusers: model_index.json, transformer/, vae/"
        yield Problem("checkpoint.load_path", f"{model.location} is one file", want, fix)


@rule(
    "video/conditioning",
    "error",
    families=VIDEO,
    actions=TRAINED,
    source="upstream caps the number of given frames in silence; with all given nothing is learned",
)
def conditioning(spec: Any, facts: Facts, plan: ClipsPlan) -> Iterator[Problem]:
    """Given frames are numbers with shares that are not all 0, and leave a latent frame to be made."""
    if spec.packs:
        where = f"{table_of(spec)}.conditioning"
        shares = (spec.dataloader_train if spec.action == "train" else spec.dataset).conditioning
        wrong = [count for count in shares if not count.isdigit()]
        if wrong:
            yield Problem(where, f"{wrong[0]!r} as a number of frames", "whole numbers from 0")
        if not sum(shares.values()):
            yield Problem(where, "shares that are all 0", "at least one above 0")
    elif spec.action == "train" and hasattr(spec.model, "min_num_conditional_frames"):
        where = "model.max_num_conditional_frames"
        low, high = spec.model.min_num_conditional_frames, spec.model.max_num_conditional_frames
        if high < low:
            yield Problem(
                where, f"{high}", f"at least min_num_conditional_frames = {low}", f"set it to {low}", {where: low}
            )
        shape = plan.diffusion.latent_shape if plan.diffusion else None
        if shape is not None and max(low, high) >= shape[1]:
            yield Problem(where, f"{max(low, high)}", f"fewer than the {shape[1]} latent frames of a sample")


@rule(
    "video/embedding-missing",
    "error",
    families=VIDEO,
    actions=("train",),
    source="upstream's loader reads t5_xxl/<clip>.pickle of every clip",
)
def embedding_missing(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Every clip has the embedding of its caption, or a text encoder makes them."""
    data = facts.datasets.get("train")
    if data is None or data.windows is None or plan.diffusion is None or plan.diffusion.text.kind != "t5":
        return
    missing = int((~data.windows.embedded & data.columns.usable).sum())
    if missing and plan.diffusion.text.encoder is None:
        saw = f"no text encoder, and {missing:,} clips without t5_xxl/<clip>.safetensors or .pickle"
        yield Problem("model.text_encoder", saw, "an encoder, or an embedding for each clip", file=str(data.annotation))


@rule(
    "video/embedding-encoder",
    "error",
    families=VIDEO,
    actions=("train",),
    source="clips without an embedding are embedded by the spec's encoder, and inference reads prompts with it",
)
def embedding_encoder(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Embeddings beside the clips come from the text encoder of the spec, where both say who they are."""
    data, model = facts.datasets.get("train"), facts.models.get("text_encoder")
    if data is None or data.windows is None or model is None or model.weights_sha256 is None:
        return
    for encoder in data.windows.encoders:
        if encoder.sha256 is not None and encoder.sha256 != model.weights_sha256:
            saw = f"clips embedded by {encoder.name}, whose weights are not those of {model.location}"
            fix = "embed the clips with it (tao-run prepare t5), or name the other encoder"
            yield Problem("model.text_encoder", saw, "one encoder for all text", fix, file=str(data.annotation))


@rule(
    "video/request",
    "error",
    families=VIDEO,
    actions=("inference",),
    source="a video of nothing is no answer",
)
def request(spec: Any, facts: Facts, plan: object) -> Iterator[Problem]:
    """There is one prompt or a file of them; a picture or clip is given exactly where the model goes on from one."""
    ask = spec.inference
    if bool(ask.prompt) == bool(ask.prompts_path):
        saw = "both prompt and prompts_path" if ask.prompt else "neither prompt nor prompts_path"
        yield Problem("inference.prompt", saw, "one of the two")
    if ask.input_path and not spec.takes_input:
        yield Problem("inference.input_path", ask.input_path, "nothing: this model makes video from text alone")
    if not ask.input_path and not ask.prompts_path and spec.takes_input == "always":
        yield Problem("inference.input_path", "nothing", "the picture or clip that the video goes on from")
