"""What may be changed in a run of the structured dialect so that it fits a device, and the search over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue

from tao_runtime.plan.costs import MemoryPlan
from tao_runtime.plan.memory.fit import Devices, Fit, Option, cut_over, judge, nearest
from tao_runtime.plan.memory.sizes import Sizes
from tao_runtime.plan.model import LoraPlan, Recompute, TrainPlan

ORDER: Final[tuple[Recompute, ...]] = ("none", "selective", "full")
PARALLELISM: Final = "model.parallelism"
ACCUMULATION: Final = "trainer.grad_accum_iter"
Change = Callable[[TrainPlan], TrainPlan | None]
Knob = list[Option]


@dataclass(frozen=True, slots=True)
class Divides:
    """What the context-parallel degree must divide."""

    heads: int
    by_frame: bool = False  # and the latent frames of a sample


def fit_plan(
    plan: TrainPlan, devices: Devices, knobs: Sequence[Knob], estimate: Callable[[TrainPlan], MemoryPlan | None]
) -> Fit:
    """Return whether a run fits, and the nearest one that does. The plan is that of `devices.count` processes."""
    memory = plan.estimate.memory
    verdict = judge(memory, devices)
    if verdict == "fits":
        return Fit(devices=devices, verdict=verdict, memory=memory)

    def tried(trial: object) -> MemoryPlan | None:
        assert isinstance(trial, TrainPlan)
        return estimate(trial)

    return Fit(devices=devices, verdict=verdict, memory=memory, nearest=nearest(plan, knobs, tried, devices))


def measured_once(sizes: Callable[[TrainPlan], Sizes]) -> Callable[[TrainPlan], Sizes]:
    """Return what a plan trains, measured once for all plans that train the same."""
    known: dict[bool, Sizes] = {}

    def found(plan: TrainPlan) -> Sizes:
        key = plan.model.lora is not None
        if key not in known:
            known[key] = sizes(plan)
        return known[key]

    return found


def as_it_is() -> Option:
    """Return the option of changing nothing."""
    return Option(0, {}, "", lambda trial: trial)


def option(cost: int, overrides: Mapping[str, JsonValue], effect: str, change: Change) -> Option:
    """Return an option whose change is one of a plan."""

    def apply(trial: object) -> object | None:
        assert isinstance(trial, TrainPlan)
        return change(trial)

    return Option(cost, overrides, effect, apply)


def changed(plan: TrainPlan, part: str, **values: Any) -> TrainPlan:
    """Return a plan with fields of one of its parts changed."""
    return plan.model_copy(update={part: getattr(plan, part).model_copy(update=values)})


def shared_knobs(spec: Any, plan: TrainPlan, divides: Divides, *, world: int) -> list[Knob]:
    """Return what every family of the dialect has: mesh, recomputation, storage, averaged weights."""
    return [
        _meshes(spec, plan, divides, world),
        _recomputation(plan),
        _storage(plan),
        _averages(plan),
    ]


def _meshes(spec: Any, plan: TrainPlan, divides: Divides, world: int) -> Knob:
    options = [as_it_is()] if plan.batch.data_parallel else []
    for place, cp in enumerate(size for size in (1, 2, 4, 8) if world % size == 0 and divides.heads % size == 0):
        wanted: dict[str, JsonValue] = {
            "data_parallel_shard_degree": world // cp,
            "data_parallel_replicate_degree": 1,
            "context_parallel_shard_degree": cp,
            "cfg_parallel_shard_degree": 1,
        }
        now = spec.model.parallelism
        overrides = {f"{PARALLELISM}.{key}": size for key, size in wanted.items() if getattr(now, key) != size}
        if spec.trainer.distributed_parallelism == "ddp":
            overrides["trainer.distributed_parallelism"] = "fsdp"
        same = (plan.mesh.dp_replicate, plan.mesh.dp_shard, plan.mesh.cp, plan.mesh.cfg) == (1, world // cp, cp, 1)
        if same and plan.batch.data_parallel:
            continue
        options.append(option(1 + 5 * place, overrides, cut_over(world, cp), _cut(cp, world, divides)))
    return options or [as_it_is()]


def _cut(cp: int, world: int, divides: Divides) -> Change:
    def change(plan: TrainPlan) -> TrainPlan | None:
        mesh = {"dp_replicate": 1, "dp_shard": world // cp, "cp": cp, "cfg": 1, "world": world}
        cut = changed(changed(plan, "mesh", **mesh), "batch", data_parallel=world // cp)
        return cut if not divides.by_frame or fits_frames(cut) else None

    return change


def fits_frames(plan: TrainPlan) -> bool:
    """Whether context parallelism divides the latent frames of a sample."""
    shape = plan.diffusion.latent_shape if plan.diffusion is not None else None
    return shape is None or shape[1] % plan.mesh.cp == 0


def _recomputation(plan: TrainPlan) -> Knob:
    options = [as_it_is()]
    for mode in ORDER[ORDER.index(plan.precision.activation_checkpointing) + 1 :]:
        text = f"{mode} recomputation of activations: slower"
        overrides: dict[str, JsonValue] = {"model.activation_checkpointing.mode": mode}
        change: Change = lambda one, mode=mode: changed(one, "precision", activation_checkpointing=mode)  # type: ignore[misc]  # noqa: E731
        options.append(option(len(options), overrides, text, change))
    return options


def _storage(plan: TrainPlan) -> Knob:
    if plan.precision.master != "float32":
        return [as_it_is()]
    text = "weights and optimizer state in bfloat16: small updates are rounded away"
    overrides: dict[str, JsonValue] = {f"{PARALLELISM}.fsdp_master_dtype": "bfloat16"}
    return [
        as_it_is(),
        option(16, overrides, text, lambda one: changed(one, "precision", master="bfloat16", reduce="bfloat16")),
    ]


def _averages(plan: TrainPlan) -> Knob:
    if plan.ema is None:
        return [as_it_is()]
    overrides: dict[str, JsonValue] = {"model.ema.enabled": False}
    text = "no averaged copy of the weights"
    return [as_it_is(), option(9, overrides, text, lambda one: one.model_copy(update={"ema": None}))]


def adapters(plan: TrainPlan, lora: LoraPlan, overrides: Mapping[str, JsonValue], keys: tuple[str, ...] = ()) -> Knob:
    """Return the knob of training adapters; `keys`: what optimizer.keys_to_select then is."""
    if plan.model.lora is not None:
        return [as_it_is()]
    return [
        as_it_is(),
        option(
            24,
            overrides,
            "LoRA adapters instead of all weights",
            lambda one: changed(changed(one, "model", lora=lora), "optimizer", keys_to_select=keys),
        ),
    ]


def halves(start: int, *, least: int = 1) -> Iterable[tuple[int, int]]:
    """Yield (number, 2, 4, 8, ...): a whole number halved as often as it goes, down to a least one, thrice at most."""
    value, factor = start, 1
    while value % 2 == 0 and value // 2 >= least and factor < 8:
        value, factor = value // 2, factor * 2
        yield value, factor


def micro_batches(plan: TrainPlan, key: str) -> Knob:
    """Return the knob of fewer samples in a micro-batch, and more of them."""
    options, now = [as_it_is()], plan.batch.accumulation or 1
    for micro, factor in halves(plan.batch.micro) if plan.batch.micro else ():
        overrides: dict[str, JsonValue] = {key: micro, ACCUMULATION: now * factor}
        text = f"micro-batches of {micro}: the same arithmetic, in more parts"
        change: Change = lambda one, micro=micro, factor=factor: changed(  # type: ignore[misc]  # noqa: E731
            one, "batch", micro=micro, accumulation=now * factor
        )
        options.append(option(2 * len(options), overrides, text, change))
    return options


def packs(plan: TrainPlan, keys: Sequence[str], *, least: int) -> Knob:
    """Return the knob of fewer tokens in a pack, and more packs; `keys` all limit it."""
    options, now = [as_it_is()], plan.batch.accumulation or 1
    for tokens, factor in halves(plan.batch.pack_tokens, least=least) if plan.batch.pack_tokens else ():
        overrides: dict[str, JsonValue] = {**dict.fromkeys(keys, tokens), ACCUMULATION: now * factor}
        text = f"packs of {tokens} tokens: the same arithmetic, in more parts"
        change: Change = lambda one, tokens=tokens, factor=factor: changed(  # type: ignore[misc]  # noqa: E731
            one, "batch", pack_tokens=tokens, accumulation=now * factor
        )
        options.append(option(2 * len(options), overrides, text, change))
    return options
