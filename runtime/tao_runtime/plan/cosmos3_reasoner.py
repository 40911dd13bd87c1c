"""Plans of the reasoner: conversations as samples, their number given by steps, the rest as any run of the dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tao_runtime.data.cosmos3_reasoner import PROMPT_FORMAT
from tao_runtime.data.facts import Facts, VisionGeometry
from tao_runtime.data.video_chat import longest_record
from tao_runtime.plan import structured
from tao_runtime.plan.cosmos_reason.sets import make_dataset, make_sampling
from tao_runtime.plan.model import (
    LOAD_TIMEOUT_S,
    AnyPlan,
    DataPlan,
    DatasetPlan,
    EstimatePlan,
    EvaluatePlan,
    GenerationPlan,
    InferencePlan,
    LoadingPlan,
    ModelPlan,
    TrainPlan,
)
from tao_runtime.spec.base import DatasetRef
from tao_runtime.spec.cosmos3_reasoner import EvaluateSpec, InferenceSpec, TrainSpec
from tao_runtime.spec.cosmos3_reasoner.answer import AnsweringModel

EPS = 1e-8  # upstream's reasoner has no key for it
NO_LIMIT = 1_000_000  # tokens, where no key limits a sample


def plan_train(spec: TrainSpec, facts: Facts) -> TrainPlan:
    """Return the plan of a training run."""
    mesh, data_parallel = structured.make_mesh(spec.model.parallelism, spec.trainer, facts)
    data = spec.dataloader_train
    train = _dataset(facts, spec.datasets()[0])
    pack = None if data.max_samples_per_batch else data.max_sequence_length
    micro = 0 if pack else data.max_samples_per_batch or 1
    batch = structured.make_batch(spec.trainer, data_parallel, micro=micro, pack=pack, seed=data.seed)
    return TrainPlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        seed=data.seed,
        model=_model(spec, facts),
        data=DataPlan(
            train=train,
            sampling=make_sampling(data.vision),
            system_prompt=data.system_prompt,
            prompt_format=PROMPT_FORMAT,
            loading=LoadingPlan(num_workers=data.num_workers, timeout_s=LOAD_TIMEOUT_S),
        ),
        batch=batch,
        steps=structured.make_steps(spec.trainer, train.num_records, batch),
        optimizer=structured.make_optimizer(spec.optimizer, spec.trainer).model_copy(update={"eps": EPS}),
        schedule=structured.make_schedule(spec.scheduler, spec.trainer.max_iter),
        mesh=mesh,
        precision=structured.make_precision(spec.model, spec.trainer),
        checkpoint=structured.make_checkpoint(spec.checkpoint, warm_start=spec.checkpoint.load_path or None),
        validation=structured.no_validation(),
        logging=structured.make_logging(spec.job, spec.trainer),
        estimate=_estimate(spec, facts),
        recompute=structured.make_recompute(spec.model),
    )


def _dataset(facts: Facts, ref: DatasetRef) -> DatasetPlan:
    data = facts.datasets.get(ref.label)
    if data is None:
        return DatasetPlan(annotation=ref.annotation, media_root=ref.media, num_records=None, format=ref.format)
    made = make_dataset(data)
    dropped = {"unusable": len(made.exclude)} if made.exclude else {}
    return made.model_copy(update={"format": ref.format, "dropped": dropped})


def _model(spec: TrainSpec, facts: Facts) -> ModelPlan:
    places = {ref.label: structured.place(ref, facts) for ref in spec.models()}
    return ModelPlan(
        path=places["model"],
        architecture=places.get("architecture"),
        max_length=spec.dataloader_train.max_sequence_length or NO_LIMIT,
        dtype=spec.model.precision,
        skip_loading=tuple(spec.checkpoint.keys_to_skip_loading),
    )


def _estimate(spec: TrainSpec, facts: Facts) -> EstimatePlan:
    data = facts.datasets.get("train")
    model = facts.models.get("architecture") or facts.models.get("model")
    if data is None:
        return EstimatePlan()
    longest, record = longest_record(
        data,
        model.geometry if model else VisionGeometry(),
        make_sampling(spec.dataloader_train.vision),
        spec.dataloader_train.system_prompt,
    )
    return EstimatePlan(max_tokens=longest, max_tokens_record=record)


def _answering(model: AnsweringModel, facts: Facts) -> ModelPlan:
    places = {ref.label: structured.place(ref, facts) for ref in model.refs()}
    return ModelPlan(
        path=places["model"],
        base_path=places.get("base_model"),
        max_length=model.max_length,
        dtype=model.precision,
    )


def plan_evaluate(spec: EvaluateSpec, facts: Facts) -> EvaluatePlan:
    """Return the plan of an evaluation."""
    ask = spec.evaluate
    return EvaluatePlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        model=_answering(spec.model, facts),
        data=_dataset(facts, spec.datasets()[0]),
        sampling=make_sampling(spec.dataset.vision),
        system_prompt=spec.dataset.system_prompt,
        prompt_format=PROMPT_FORMAT,
        generation=GenerationPlan(
            max_new_tokens=ask.max_tokens,
            temperature=ask.temperature,
            repetition_penalty=ask.repetition_penalty,
            batch_size=ask.batch_size,
            seed=ask.seed,
        ),
        world=facts.host.world_size or max(1, facts.host.num_gpus),
        task=ask.task,
        text_metrics=tuple(ask.text_metrics),
        soft_accuracy_threshold=ask.soft_accuracy,
        limit=ask.limit if ask.limit > 0 else None,
    )


def plan_inference(spec: InferenceSpec, facts: Facts) -> InferencePlan:
    """Return the plan of an inference."""
    ask = spec.inference
    return InferencePlan(
        family=spec.family,
        spec_sha256=spec.sha256,
        output_dir=spec.output_dir(),
        model=_answering(spec.model, facts),
        media=ask.media,
        media_kind=ask.kind,
        prompt=ask.prompt,
        prompts=ask.prompts,
        system_prompt=ask.system_prompt,
        sampling=make_sampling(ask.vision),
        prompt_format=PROMPT_FORMAT,
        generation=GenerationPlan(max_new_tokens=ask.max_tokens, batch_size=ask.batch_size),
        world=facts.host.world_size or max(1, facts.host.num_gpus),
    )


PLANNERS: Mapping[str, Callable[..., AnyPlan]] = {
    "train": plan_train,
    "evaluate": plan_evaluate,
    "inference": plan_inference,
}
