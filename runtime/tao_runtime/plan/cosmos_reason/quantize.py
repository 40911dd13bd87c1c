"""The plan of a quantisation."""

from __future__ import annotations

from tao_runtime.data.cosmos_reason import PROMPT_FORMAT
from tao_runtime.data.facts import Facts
from tao_runtime.plan.cosmos_reason.answer import stored_dtype
from tao_runtime.plan.cosmos_reason.sets import make_dataset, make_place, make_sampling
from tao_runtime.plan.model import GenerationPlan, ModelPlan, QuantizePlan
from tao_runtime.plan.quantization import GROUPED, METHODS, SMOOTHED, ProofPlan, SchemePlan
from tao_runtime.spec.cosmos_reason import QuantizeSpec
from tao_runtime.spec.cosmos_reason.quantize import Quantize

MAX_LENGTH = 1_000_000  # held-out records may be as long as they are


def plan_quantize(spec: QuantizeSpec, facts: Facts) -> QuantizePlan:
    """Return the plan of a quantisation."""
    places = {ref.label: make_place(ref, facts) for ref in spec.models()}
    base = "base_model" if "base_model" in places else "model"
    scheme, proof = plan_scheme(spec.quantize), spec.proof
    sets = {label: make_dataset(data) for label, data in facts.datasets.items()}
    return QuantizePlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        model=ModelPlan(
            path=places["model"],
            base_path=places.get("base_model"),
            max_length=MAX_LENGTH,
            dtype=stored_dtype(facts.models.get(base)),
        ),
        scheme=scheme,
        calibration=sets.get("calibration") if scheme.samples else None,
        data=sets.get("eval"),
        proof=ProofPlan(
            sampling=make_sampling(spec.dataset.vision),
            system_prompt=spec.dataset.system_prompt,
            prompt_format=PROMPT_FORMAT,
            limit=proof.limit if proof.limit > 0 else None,
            accuracy_budget=proof.accuracy_budget,
            test_answer=not spec.quantize.skip_test_generation,
        ),
        generation=GenerationPlan(max_new_tokens=proof.max_tokens, batch_size=proof.batch_size),
    )


def plan_scheme(asked: Quantize) -> SchemePlan:
    """Return what is done to the weights; 8-bit keys and values are measured, so they need records with any scheme."""
    name, kv_fp8 = asked.quantization_scheme, asked.kv_precision == "fp8"
    method = METHODS[name]
    if method == "round" and kv_fp8:
        method = "minmax"
    return SchemePlan(
        name=name,
        method=method,
        group_size=asked.group_size if name in GROUPED else None,
        kv_fp8=kv_fp8,
        smoothing=asked.smoothing_strength if name in SMOOTHED else 0.0,
        samples=asked.num_calibration_samples if method != "round" else 0,
        max_length=asked.max_sequence_length if method != "round" else 0,
    )
