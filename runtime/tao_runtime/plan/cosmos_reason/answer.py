"""Plans of the actions that answer: evaluate and inference."""

from __future__ import annotations

from tao_runtime.data.cosmos_reason import PROMPT_FORMAT
from tao_runtime.data.facts import Facts
from tao_runtime.plan.cosmos_reason.sets import make_dataset, make_sampling
from tao_runtime.plan.model import DatasetPlan, Dtype, EvaluatePlan, GenerationPlan, InferencePlan, ModelPlan
from tao_runtime.spec.cosmos_reason import EvaluateSpec, InferenceSpec

DTYPES: dict[str, Dtype] = {"float32": "float32", "float16": "float16", "bfloat16": "bfloat16"}


def plan_evaluate(spec: EvaluateSpec, facts: Facts) -> EvaluatePlan:
    """Return the plan of an evaluation."""
    data, evaluation = facts.datasets.get("eval"), spec.evaluation
    soft = evaluation.soft_accuracy
    unknown = DatasetPlan(annotation=spec.dataset.annotation_path, media_root=spec.dataset.media_dir, num_records=None)
    return EvaluatePlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        model=_loaded_model(
            spec, facts, lora=spec.model.enable_lora, max_length=spec.model.max_length, dtype=spec.model.dtype
        ),
        data=make_dataset(data) if data is not None else unknown,
        sampling=make_sampling(spec.vision),
        system_prompt=spec.dataset.system_prompt,
        prompt_format=PROMPT_FORMAT,
        generation=GenerationPlan(
            max_new_tokens=spec.generation.max_tokens,
            temperature=spec.generation.temperature,
            repetition_penalty=spec.generation.repetition_penalty,
            batch_size=evaluation.batch_size,
            seed=evaluation.seed,
        ),
        world=facts.host.world_size or spec.num_gpus,
        task=spec.task.type,
        answer_type=evaluation.answer_type,
        text_metrics=tuple(spec.metrics.names),
        metric_options={
            "bertscore_lang": spec.metrics.bertscore_lang,
            "bertscore_model": spec.metrics.bertscore_model,
            "bertscore_device": spec.metrics.bertscore_device,
            "bertscore_batch_size": spec.metrics.bertscore_batch_size,
        },
        soft_accuracy_threshold=soft.f1_threshold if soft.enabled else None,
        limit=evaluation.limit if evaluation.limit >= 0 else None,
        shard_id=evaluation.shard_id,
        skip_saved=evaluation.skip_saved,
        save_individual=spec.results.save_individual_results,
        save_summary=spec.results.save_metrics_summary,
        save_confusion_matrix=spec.results.save_confusion_matrix,
    )


def _loaded_model(
    spec: EvaluateSpec | InferenceSpec, facts: Facts, *, lora: bool, max_length: int, dtype: str
) -> ModelPlan:
    """Return the model that answers: with `lora`, an adapter on its base. "auto" is the type that its weights have."""
    models = {ref.label: ref for ref in spec.models()}
    base = models["base_model"] if lora and "base_model" in models else None
    seen = facts.models.get("base_model" if base else "model")
    own = str(seen.config.get("dtype", seen.config.get("torch_dtype", ""))) if seen else ""
    return ModelPlan(
        path=models["model"].location,
        base_path=base.location if base else None,
        max_length=max_length,
        dtype=DTYPES.get(own if dtype == "auto" else dtype, "bfloat16"),
    )


def plan_inference(spec: InferenceSpec, facts: Facts) -> InferencePlan:
    """Return the plan of an inference over a file, a folder or an annotation file."""
    return InferencePlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        model=_loaded_model(spec, facts, lora=spec.enable_lora, max_length=1_000_000, dtype=spec.torch_dtype),
        media=spec.media,
        media_kind=spec.type,
        prompt=spec.prompt,
        sampling=make_sampling(spec),
        prompt_format=PROMPT_FORMAT,
        generation=GenerationPlan(max_new_tokens=spec.max_new_tokens),
        world=facts.host.world_size or spec.num_gpus,
    )
