"""Plans of the reasoner: conversations as samples, their number given by steps, the rest as any run of the dialect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from tao_runtime.data.cosmos3_reasoner import NETWORKS, PROMPT_FORMAT
from tao_runtime.data.facts import Facts, ModelFacts, VisionGeometry
from tao_runtime.data.lengths import Lengths, summarise, token_bounds
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.plan import structured
from tao_runtime.plan.chat_costs import (
    LEAST_PIXELS,
    chat_memory,
    chat_sizes,
    find_loads,
    largest_pixels,
    with_chat_costs,
)
from tao_runtime.plan.cosmos_reason.sets import make_dataset, make_sampling
from tao_runtime.plan.costs import MemoryPlan, spread
from tao_runtime.plan.memory.fit import Devices, Fit, Option
from tao_runtime.plan.memory.network import vision_language_network
from tao_runtime.plan.model import (
    LOAD_TIMEOUT_S,
    AnyPlan,
    DataPlan,
    DatasetPlan,
    EvaluatePlan,
    GenerationPlan,
    InferencePlan,
    LoadingPlan,
    ModelPlan,
    TrainPlan,
)
from tao_runtime.plan.structured_fit import (
    Change,
    Divides,
    as_it_is,
    changed,
    fit_plan,
    measured_once,
    micro_batches,
    option,
    packs,
    shared_knobs,
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
    lengths = _lengths(spec, facts)
    plan = TrainPlan(
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
        steps=structured.make_steps(spec.trainer, train.num_records, batch, lengths=lengths),
        optimizer=structured.make_optimizer(spec.optimizer, spec.trainer).model_copy(update={"eps": EPS}),
        schedule=structured.make_schedule(spec.scheduler, spec.trainer.max_iter),
        mesh=mesh,
        precision=structured.make_precision(spec.model, spec.trainer),
        checkpoint=structured.make_checkpoint(spec.checkpoint, warm_start=spec.checkpoint.load_path or None),
        validation=structured.no_validation(),
        logging=structured.make_logging(spec.job, spec.trainer),
        estimate=spread(summarise(lengths)),
        recompute=structured.make_recompute(spec.model),
    )
    model = architecture(facts)
    return with_chat_costs(plan, facts, model, vision_language_network(model.config) if model is not None else None)


def architecture(facts: Facts) -> ModelFacts | None:
    """Return the model whose configuration counts; of the published one that is not on this machine, with it."""
    model = facts.models.get("architecture") or facts.models.get("model")
    if model is None or model.config:
        return model
    return replace(model, config=NETWORKS.get(model.location, {}))


def network_config(spec: TrainSpec, facts: Facts) -> Mapping[str, object]:
    """Return the configuration of the network; empty where it is not known."""
    model = architecture(facts)
    return model.config if model is not None else {}


def fit(spec: TrainSpec, plan: TrainPlan, facts: Facts, devices: Devices) -> Fit:
    """Return whether a run fits, and the nearest one that does. The plan is that of `devices.count` processes."""
    model = architecture(facts)
    network = vision_language_network(model.config) if model is not None else None
    if model is None or network is None:
        return Fit(devices=devices, verdict="not known", memory=None)
    sizes = measured_once(lambda one: chat_sizes(one, network))

    def estimate(one: TrainPlan) -> MemoryPlan | None:
        loads = find_loads(one, facts, model, one.data.sampling)
        return chat_memory(one, network, sizes(one), loads) if loads and one.batch.data_parallel else None

    knobs = [  # a sample is never shared
        *shared_knobs(spec, plan, Divides(heads=1), world=devices.count),
        packs(plan, ("dataloader_train.max_sequence_length",), least=plan.estimate.max_tokens or 1024),
        micro_batches(plan, "dataloader_train.max_samples_per_batch"),
        _fewer_pixels(plan, facts, model),
    ]
    return fit_plan(plan, devices, knobs, estimate)


def _fewer_pixels(plan: TrainPlan, facts: Facts, model: ModelFacts) -> list[Option]:
    options, train, record = [as_it_is()], facts.datasets.get("train"), plan.estimate.max_tokens_record
    if train is None or record is None:
        return options
    most = largest_pixels(train, record, plan.data.sampling, model.geometry)
    for place, share in enumerate((0.5, 0.25, 0.125)):
        pixels = int(most * share)
        if pixels < LEAST_PIXELS:
            break
        text = f"at most {share:.3g} of the pixels that the longest sample has now: fewer tokens, less to see"
        sampling = plan.data.sampling.model_copy(update={"total_pixels": pixels})
        change = _sampled(sampling)
        options.append(option(20 + 6 * place, {"dataloader_train.vision.total_pixels": pixels}, text, change))
    return options


def _sampled(sampling: SamplingPlan) -> Change:
    return lambda plan: changed(plan, "data", sampling=sampling)


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


def _lengths(spec: TrainSpec, facts: Facts) -> Lengths:
    """Return the most tokens that each record can have."""
    data = facts.datasets.get("train")
    model = facts.models.get("architecture") or facts.models.get("model")
    if data is None:
        return np.zeros(0, np.int32)
    vision, geometry = make_sampling(spec.dataloader_train.vision), model.geometry if model else VisionGeometry()
    return token_bounds(data, vision, geometry, system_prompt=spec.dataloader_train.system_prompt)[1]


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
