"""What could be changed in a training run so that it fits a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from tao_runtime.data.cosmos_reason import NETWORKS
from tao_runtime.data.facts import Facts, ModelFacts
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.plan.chat_costs import (
    LEAST_PIXELS,
    Loads,
    chat_memory,
    chat_sizes,
    find_loads,
    largest_pixels,
    with_chat_costs,
)
from tao_runtime.plan.costs import MemoryPlan
from tao_runtime.plan.memory.activations import Load
from tao_runtime.plan.memory.fit import Devices, Fit, Option, cut_over, judge, nearest
from tao_runtime.plan.memory.network import VisionLanguageNetwork, vision_language_network
from tao_runtime.plan.memory.sizes import Sizes
from tao_runtime.plan.model import LoraPlan, Recompute, TrainPlan
from tao_runtime.spec.cosmos_reason import TrainSpec
from tao_runtime.spec.cosmos_reason.policy import Lora

ORDER: Final[tuple[Recompute, ...]] = ("none", "selective", "full")


def with_costs(plan: TrainPlan, facts: Facts) -> TrainPlan:
    """Return the plan with memory, time and bytes written, as far as configuration, data and device tell them."""
    model = model_of(facts)
    return with_chat_costs(plan, facts, model, _network(model))


def model_of(facts: Facts) -> ModelFacts | None:
    """Return the model; of a published one that is not on this machine, with its configuration."""
    model = facts.models.get("model")
    if model is None or model.config:
        return model
    return replace(model, config=NETWORKS.get(model.location, {}))


def network_config(spec: TrainSpec, facts: Facts) -> Mapping[str, object]:
    """Return the configuration of the network; empty where it is not known."""
    model = model_of(facts)
    return model.config if model is not None else {}


def _network(model: ModelFacts | None) -> VisionLanguageNetwork | None:
    return vision_language_network(model.config) if model and model.config and not model.is_adapter else None


@dataclass(frozen=True, slots=True)
class Trial:
    """A run as it is tried: the plan, the number of processes, the share of the pixels."""

    plan: TrainPlan
    pixels: float = 1.0


def fit(spec: TrainSpec, plan: TrainPlan, facts: Facts, devices: Devices) -> Fit:
    """Return whether a run fits, and the nearest one that does. The plan is that of `devices.count` processes."""
    memory, model = plan.estimate.memory, model_of(facts)
    verdict, network = judge(memory, devices), _network(model)
    if (
        verdict == "fits"
        or network is None
        or model is None
        or find_loads(plan, facts, model, plan.data.sampling) is None
    ):
        return Fit(devices=devices, verdict=verdict, memory=memory)
    known: dict[tuple[bool, float], tuple[Sizes, Loads]] = {}

    def estimate(trial: object) -> MemoryPlan | None:
        assert isinstance(trial, Trial)
        key = trial.plan.model.lora is not None, trial.pixels
        if key not in known:
            loads = find_loads(plan, facts, model, _fewer_pixels(plan.data.sampling, trial.pixels, plan, facts))
            assert loads is not None
            low, expected, high = (_unit(load, plan) for load in loads)
            known[key] = chat_sizes(trial.plan, network), (low, expected, high)
        sizes, units = known[key]
        micro = trial.plan.batch.micro if trial.plan.batch.micro_tokens is None else 1
        loads = units[0].times(micro), units[1].times(micro), units[2].times(micro)
        return chat_memory(trial.plan, network, sizes, loads)

    found = nearest(Trial(plan), knobs(plan, spec, facts, devices.count), estimate, devices)
    return Fit(devices=devices, verdict=verdict, memory=memory, nearest=found)


def _unit(load: Load, plan: TrainPlan) -> Load:
    """Return the load of one sample; of a whole micro-batch where that is cut by tokens."""
    count = plan.batch.micro if plan.batch.micro_tokens is None else 1
    return Load(load.tokens // count, load.visual // count, load.supervised // count)


def _fewer_pixels(sampling: SamplingPlan, share: float, plan: TrainPlan, facts: Facts) -> SamplingPlan:
    return sampling if share == 1.0 else sampling.model_copy(update={"total_pixels": _pixels(plan, facts, share)})


def _pixels(plan: TrainPlan, facts: Facts, share: float) -> int:
    """Return a share of the pixels that the longest record has now."""
    model, record = facts.models["model"], plan.estimate.max_tokens_record
    assert record is not None
    most = largest_pixels(facts.datasets["train"], record, plan.data.sampling, model.geometry)
    return int(most * share)


def knobs(plan: TrainPlan, spec: TrainSpec, facts: Facts, world: int) -> list[list[Option]]:
    """Return what may be changed, each from no change to the largest; costs say how much a change is to be avoided."""
    return [
        _meshes(plan, spec, facts, world),
        _recomputation(plan),
        _micro_batches(plan),
        _adapters(plan),
        _storage(plan),
        _offloading(plan),
        _smaller(plan, facts),
    ]


def _as_it_is() -> Option:
    return Option(0, {}, "", lambda trial: trial)


def _on(change: Callable[[TrainPlan], TrainPlan | None]) -> Callable[[object], object | None]:
    def apply(trial: object) -> object | None:
        assert isinstance(trial, Trial)
        changed = change(trial.plan)
        return replace(trial, plan=changed) if changed is not None else None

    return apply


def _meshes(plan: TrainPlan, spec: TrainSpec, facts: Facts, world: int) -> list[Option]:
    options = [_as_it_is()] if plan.batch.data_parallel else []
    model = model_of(facts)
    heads = model.config.get("text_config") if model is not None else None
    count = heads.get("num_attention_heads") if isinstance(heads, dict) else None
    now = spec.policy.parallelism
    for place, cp in enumerate(size for size in (1, 2, 4, 8) if world % size == 0):
        if isinstance(count, int) and count % cp:
            continue
        degrees = {"dp_replicate": 1, "dp_shard": world // cp, "cp": cp, "world": world, "tp": 1, "pp": 1}
        keys = {"dp_shard_size": world // cp, "dp_replicate_size": 1, "cp_size": cp, "tp_size": 1, "pp_size": 1}
        if options and all(getattr(plan.mesh, axis) == size for axis, size in degrees.items()):
            continue  # it is so already
        text = cut_over(world, cp)
        changed = {name: size for name, size in keys.items() if getattr(now, name) != size}
        overrides = {f"policy.parallelism.{name}": size for name, size in changed.items()}
        change = _on(lambda one, degrees=degrees: one.model_copy(  # type: ignore[misc]
            update={"mesh": one.mesh.model_copy(update=degrees)}
        ))  # fmt: skip
        options.append(Option(1 + 5 * place, dict(overrides), text, change))
    return options  # never none: one sequence-parallel rank divides every number of processes


def _recomputation(plan: TrainPlan) -> list[Option]:
    options = [_as_it_is()]
    for mode in ORDER[ORDER.index(plan.precision.activation_checkpointing) + 1 :]:
        change = _on(lambda one, mode=mode: _precision(one, activation_checkpointing=mode))  # type: ignore[misc]
        value = "selective" if mode == "selective" else True
        text = f"{mode} recomputation of activations: slower"
        options.append(Option(len(options), {"policy.model_gradient_checkpointing": value}, text, change))
    return options


def _precision(plan: TrainPlan, **changes: object) -> TrainPlan:
    return plan.model_copy(update={"precision": plan.precision.model_copy(update=changes)})


def _batch(plan: TrainPlan, **changes: object) -> TrainPlan:
    return plan.model_copy(update={"batch": plan.batch.model_copy(update=changes)})


def _micro_batches(plan: TrainPlan) -> list[Option]:
    options, micro = [_as_it_is()], plan.batch.micro
    while plan.batch.micro_tokens is None and micro % 2 == 0:
        micro //= 2
        cut = plan.batch.per_rank // micro
        change = _on(lambda one, micro=micro, cut=cut: _batch(one, micro=micro, accumulation=cut))  # type: ignore[misc]
        text = f"micro-batches of {micro}: the same arithmetic, in more parts"
        options.append(Option(2 * len(options), {"train.train_policy.mini_batch": micro}, text, change))
    return options


def _adapters(plan: TrainPlan) -> list[Option]:
    if plan.model.lora is not None:
        return [_as_it_is()]
    default = Lora()
    lora = LoraPlan(
        r=default.r, alpha=default.lora_alpha, dropout=default.lora_dropout,
        target_modules=tuple(default.target_modules), modules_to_save=(), use_rslora=default.use_rslora,
        init=default.init_lora_weights, rank_pattern={}, alpha_pattern={},
    )  # fmt: skip
    change = _on(lambda one: one.model_copy(update={"model": one.model.model_copy(update={"lora": lora})}))
    return [_as_it_is(), Option(24, {"policy.lora": {}}, "LoRA adapters instead of all weights", change)]


def _storage(plan: TrainPlan) -> list[Option]:
    if plan.precision.master != "float32":
        return [_as_it_is()]
    change = _on(lambda one: _precision(one, master="bfloat16"))
    text = "weights and optimizer state in bfloat16: small updates are rounded away"
    return [_as_it_is(), Option(16, {"train.master_dtype": "bfloat16"}, text, change)]


def _offloading(plan: TrainPlan) -> list[Option]:
    if plan.precision.offload:
        return [_as_it_is()]
    change = _on(lambda one: _precision(one, offload=True))
    return [_as_it_is(), Option(60, {"train.fsdp_offload": True}, "state in host memory: much slower", change)]


def _smaller(plan: TrainPlan, facts: Facts) -> list[Option]:
    options = [_as_it_is()]
    if plan.estimate.max_tokens_record is None:  # no record, no pixels
        return options
    for place, share in enumerate((0.5, 0.25, 0.125)):
        pixels = _pixels(plan, facts, share)
        if pixels < LEAST_PIXELS:
            break
        text = f"at most {share:.3g} of the pixels that the longest sample has now: fewer tokens, less to see"
        change = _scaled(share)
        options.append(Option(20 + 6 * place, {"custom.vision.total_pixels": pixels}, text, change))
    return options


def _scaled(share: float) -> Callable[[object], object | None]:
    def apply(trial: object) -> object | None:
        assert isinstance(trial, Trial)
        return replace(trial, pixels=share)

    return apply
