"""Plans of the actions that answer: evaluate and inference."""

from __future__ import annotations

from tao_runtime.data.cosmos_reason import PROMPT_FORMAT
from tao_runtime.data.facts import Facts, ModelFacts
from tao_runtime.plan.cosmos_reason.sets import make_dataset, make_place, make_sampling
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
        model=_loaded_model(spec, facts, max_length=spec.model.max_length, dtype=spec.model.dtype),
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
        text_metrics=tuple(spec.metrics.names),
        metric_options={
            "bertscore_lang": spec.metrics.bertscore_lang,
            "bertscore_model": spec.metrics.bertscore_model,
            "bertscore_device": spec.metrics.bertscore_device,
            "bertscore_batch_size": spec.metrics.bertscore_batch_size,
        },
        soft_accuracy_threshold=soft.f1_threshold if soft.enabled else None,
        limit=evaluation.limit if evaluation.limit >= 0 else None,
        skip_saved=evaluation.skip_saved,
        save_individual=spec.results.save_individual_results,
        save_summary=spec.results.save_metrics_summary,
        save_confusion_matrix=spec.results.save_confusion_matrix,
    )


def _loaded_model(spec: EvaluateSpec | InferenceSpec, facts: Facts, *, max_length: int, dtype: str) -> ModelPlan:
    """Return the model that answers, or the adapter and the base it is put on."""
    places = {ref.label: make_place(ref, facts) for ref in spec.models()}
    base = "base_model" if "base_model" in places else "model"
    return ModelPlan(
        path=places["model"],
        base_path=places.get("base_model"),
        max_length=max_length,
        dtype=DTYPES.get(dtype) or stored_dtype(facts.models.get(base)),
    )


def stored_dtype(model: ModelFacts | None) -> Dtype:
    """Return the type that weights are stored in, by their size: 4 bytes each are float32, 2 as the config says."""
    if model is None or not model.num_parameters or model.weight_bytes is None:
        return "bfloat16"
    if model.weight_bytes >= 4 * model.num_parameters:
        return "float32"
    named = model.config.get("dtype") or model.config.get("torch_dtype")
    return "float16" if named == "float16" else "bfloat16"


def plan_inference(spec: InferenceSpec, facts: Facts) -> InferencePlan:
    """Return the plan of an inference over a file, a folder or an annotation file."""
    return InferencePlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        model=_loaded_model(spec, facts, max_length=1_000_000, dtype=spec.torch_dtype),
        media=spec.media,
        media_kind=spec.type,
        prompt=spec.prompt,
        prompts=spec.prompts,
        system_prompt=spec.system_prompt,
        sampling=make_sampling(spec),
        prompt_format=PROMPT_FORMAT,
        generation=GenerationPlan(max_new_tokens=spec.max_new_tokens, batch_size=spec.batch_size),
        world=facts.host.world_size or spec.num_gpus,
    )
