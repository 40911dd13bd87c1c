"""Quantising: can this model be quantised so, on this machine, with these records; what will be proven of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from tao_runtime.data.facts import Facts, ModelFacts
from tao_runtime.plan.model import QuantizePlan
from tao_runtime.plan.quantization import FIXED_GROUPS, GROUPED, METHODS, SMOOTHED
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.effect import changed
from tao_runtime.spec.cosmos_reason import QuantizeSpec

FEW: Final = 32  # calibration samples; llm-compressor's own recipes take 20 (vision) to 512 (text)
PACKED: Final = 8  # 4-bit weights that one word of 32 bits holds
_OURS: Final = ("cosmos_reason",)
_KEY: Final = "quantize.quantization_scheme"


def _network(facts: Facts) -> ModelFacts | None:
    """Return the facts of the model whose layers are quantised: the base, where an adapter is merged into it."""
    return facts.models.get("base_model") or facts.models.get("model")


@rule(
    "cosmos_reason/quantize-gpu",
    "error",
    families=_OURS,
    actions=("quantize",),
    source="4-bit floats are computed by devices of compute capability 10.0 and emulated by some others; not by a CPU",
)
def quantize_gpu(spec: QuantizeSpec, facts: Facts, plan: QuantizePlan) -> Iterator[Problem]:
    """NVFP4 is made and proven on a GPU."""
    if plan.scheme.name == "NVFP4" and not facts.host.num_gpus:
        fix = "run it on a machine with a GPU, or take FP8_DYNAMIC or W4A16"
        yield Problem(_KEY, "NVFP4, and no GPU here", "a GPU", fix)


@rule(
    "cosmos_reason/quantize-calibration",
    "error",
    families=_OURS,
    actions=("quantize",),
    source="upstream falls back to pictures of another data set; scales must be measured on what will be asked",
)
def quantize_calibration(spec: QuantizeSpec, facts: Facts, plan: QuantizePlan) -> Iterator[Problem]:
    """A scheme that measures activations has records to measure them on, at least as many as are asked for."""
    scheme, key = plan.scheme, "quantize.num_calibration_samples"
    if not scheme.samples:
        return
    if not spec.dataset.annotation_path:
        why = "fp8 keys and values" if METHODS[scheme.name] == "round" else scheme.name
        fix = "name the training set, or take FP8_DYNAMIC or W8A16 with kv_precision=bf16, which need none"
        yield Problem("dataset.annotation_path", f"no records, and {why} needs calibration", "an annotation file", fix)
        return
    have = plan.calibration.num_records if plan.calibration is not None else None
    if have is not None and have < scheme.samples:
        yield Problem(key, f"{scheme.samples:,} of {have:,} usable records", f"at most {have:,}", f"set it to {have}",
                      {key: have} if have else None)  # fmt: skip


@rule(
    "cosmos_reason/quantize-few-samples",
    "warning",
    families=_OURS,
    actions=("quantize",),
    source="the key's upstream default is 1; recipes of llm-compressor take 20 to 512",
)
def quantize_few_samples(spec: QuantizeSpec, facts: Facts, plan: QuantizePlan) -> Iterator[Problem]:
    """Scales are measured on more than a handful of records."""
    key = "quantize.num_calibration_samples"
    if 0 < plan.scheme.samples < FEW:
        have = plan.calibration.num_records if plan.calibration is not None else None
        better = min(128, have) if have else 128
        patch = {key: better} if better > plan.scheme.samples else None
        yield Problem(key, f"{plan.scheme.samples}", f"{FEW} or more", f"set it to {better}", patch)


@rule(
    "cosmos_reason/quantize-divides",
    "error",
    families=_OURS,
    actions=("quantize",),
    source="cosmos-reason1#85: 'in features size is not multiple of 16', after the model was loaded",
)
def quantize_divides(spec: QuantizeSpec, facts: Facts, plan: QuantizePlan) -> Iterator[Problem]:
    """Groups of weights divide the inputs of every layer that is quantised."""
    model, scheme = _network(facts), plan.scheme
    size = scheme.group_size or FIXED_GROUPS.get(scheme.name)
    if model is None or size is None:
        return
    widths = input_widths(model.config)
    wrong = {name: width for name, width in widths.items() if width % size}
    if wrong:
        shown = ", ".join(f"{name} takes {width}" for name, width in wrong.items())
        fits = [each for each in (128, 64, 32, 16, 8) if not any(width % each for width in widths.values())]
        if scheme.group_size is None:
            yield Problem(_KEY, f"{shown}, in groups of {size}", f"a multiple of {size}", "take another scheme")
        elif fits:
            key = "quantize.group_size"
            yield Problem(key, f"{size}: {shown}", "a divisor of all of them", f"set it to {fits[0]}", {key: fits[0]})
        else:
            yield Problem(_KEY, f"{shown}, which no usual group divides", "another scheme", "take FP8_DYNAMIC")
    elif scheme.name == "W4A16" and size % PACKED:
        yield Problem("quantize.group_size", f"{size}", f"a multiple of {PACKED}: so many share a word of 32 bits")


def input_widths(config: Mapping[str, object]) -> dict[str, int]:
    """Return the inputs of each kind of linear layer of the language model, as far as the configuration says."""
    table = config.get("text_config")
    text = table if isinstance(table, dict) else config
    hidden, inner, heads, size = (
        value if isinstance(value := text.get(name), int) else None
        for name in ("hidden_size", "intermediate_size", "num_attention_heads", "head_dim")
    )
    if size is None and hidden and heads:
        size = hidden // heads
    named = {
        "q_proj": hidden,
        "o_proj": heads * size if heads and size else None,
        "gate_proj": hidden,
        "down_proj": inner,
    }
    return {name: width for name, width in named.items() if width}


@rule(
    "cosmos_reason/quantize-model",
    "error",
    families=_OURS,
    actions=("quantize",),
    source="llm-compressor treats experts by rules of their own, which nothing here has proven",
)
def quantize_model(spec: QuantizeSpec, facts: Facts, plan: QuantizePlan) -> Iterator[Problem]:
    """The model has weights that are not quantised yet, and no mixture of experts."""
    model = _network(facts)
    if model is None:
        return
    key = "model.base_model_path" if "base_model" in facts.models else "model.model_path"
    if model.config.get("quantization_config"):
        yield Problem(key, f"{model.location} is quantised already", "the weights it was made from")
    text = model.config.get("text_config")
    if isinstance(text, dict) and text.get("num_experts"):
        yield Problem(key, f"{model.location} has {text['num_experts']} experts", "a dense model: not supported yet")


@rule(
    "cosmos_reason/quantize-unproven",
    "warning",
    families=_OURS,
    actions=("quantize",),
    source="quantised video models that lose eight points, or do not look at the video, still answer",
)
def quantize_unproven(spec: QuantizeSpec, facts: Facts, plan: QuantizePlan) -> Iterator[Problem]:
    """Both models answer held-out records; without them nothing says what was lost."""
    if not spec.proof.annotation_path:
        saw, want = "no held-out records: accuracy will not be measured", "records that were not trained on"
        yield Problem("proof.annotation_path", saw, want, "name the held-out set of evaluate")
    elif spec.proof.annotation_path == spec.dataset.annotation_path:
        saw = "the records that scales are measured on"
        yield Problem("proof.annotation_path", saw, "records that were not calibrated on")


@rule(
    "cosmos_reason/quantize-ignores",
    "note",
    families=_OURS,
    actions=("quantize",),
    source="this package: a key that a scheme does not read is named",
)
def quantize_ignores(spec: QuantizeSpec, facts: Facts, plan: QuantizePlan) -> Iterator[Problem]:
    """Keys that the chosen scheme does not read keep their defaults."""
    scheme = plan.scheme
    unread = {
        "quantize.smoothing_strength": scheme.name not in SMOOTHED,
        "quantize.group_size": scheme.name not in GROUPED,
        "quantize.num_calibration_samples": not scheme.samples,
        "quantize.max_sequence_length": not scheme.samples,
        "dataset.annotation_path": not scheme.samples,
        "dataset.media_dir": not scheme.samples or not spec.dataset.annotation_path,
        **dict.fromkeys(
            ("proof.media_dir", "proof.limit", "proof.accuracy_budget", "proof.max_tokens"),
            plan.data is None,
        ),
        "proof.batch_size": plan.data is None,
    }
    for key, is_unread in unread.items():
        if is_unread and (pair := changed(spec, key)):
            yield Problem(key, f"{pair[0]!r} has no effect with {scheme.name} here", "its default, or the key left out")
