"""Mesh, schedule and place of a run of the structured dialect, and the assets it needs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Final

from tao_runtime.data.facts import Facts
from tao_runtime.plan.model import TrainPlan
from tao_runtime.preflight.rule import Problem, rule
from tao_runtime.preflight.rules.structured import STRUCTURED
from tao_runtime.spec.structured.spec import StructuredSpec

SHARD: Final = "model.parallelism.data_parallel_shard_degree"
REPLICATE: Final = "model.parallelism.data_parallel_replicate_degree"
CP: Final = "model.parallelism.context_parallel_shard_degree"
CFG: Final = "model.parallelism.cfg_parallel_shard_degree"
HUB_ID: Final = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
FEW_STEPS: Final = 50  # a shorter run is over before it can be lost
LISTS: Final = ("f_max", "f_min", "f_start", "warm_up_steps")


@rule(
    "structured/mesh-product",
    "error",
    families=STRUCTURED,
    actions=("train",),
    source="seed guide, model.parallelism: the product must equal the number of processes; nothing is clamped",
)
def mesh_product(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """The product of the degrees is the number of processes, and at most one data-parallel degree is inferred."""
    degrees = spec.model.parallelism
    shard, replicate = degrees.data_parallel_shard_degree, degrees.data_parallel_replicate_degree
    if 0 in (shard, replicate):
        where = SHARD if shard == 0 else REPLICATE
        yield Problem(where, "0", "-1, or at least 1", "set it to -1", {where: -1})
    elif shard == replicate == -1 and plan.mesh.dp_shard is None:
        saw = "-1, and data_parallel_replicate_degree is -1 too"
        yield Problem(
            SHARD, saw, "at most one degree to infer", "set data_parallel_replicate_degree to 1", {REPLICATE: 1}
        )
    elif plan.batch.data_parallel is None:
        sizes = {"shards": shard, "replicas": replicate, "context": plan.mesh.cp, "guidance": plan.mesh.cfg}
        text = " x ".join(f"{size} {name}" for name, size in sizes.items() if size != 1) or "all degrees 1"
        product = math.prod(abs(size) for size in sizes.values())
        saw = f"{text} = {product}, and {plan.mesh.world} processes"
        want = f"a divisor of {plan.mesh.world}" if -1 in sizes.values() else f"the product to be {plan.mesh.world}"
        yield Problem(SHARD, saw, want, "set it to -1, or start as many processes as the product")


@rule(
    "structured/guidance-parallel",
    "error",
    families=STRUCTURED,
    actions=("train",),
    source="training has no unguided pass; upstream asserts it is 1",
)
def guidance_parallel(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Processes that share a guided and an unguided pass exist in inference only."""
    size = spec.model.parallelism.cfg_parallel_shard_degree
    if size > 1:
        yield Problem(CFG, str(size), "1: training has one pass", "set it to 1", {CFG: 1})


@rule(
    "structured/warmup",
    "warning",
    families=STRUCTURED,
    actions=("train",),
    source="the learning rate never reaches what the spec says; three of upstream's own recipes have it",
)
def warmup(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Warm-up ends before the run does."""
    steps, total = spec.scheduler.warm_up_steps[0], spec.trainer.max_iter
    if steps >= total:
        cycle = plan.schedule.cycles[0]
        reached = cycle.start + (cycle.peak - cycle.start) * (total - 1) / steps
        saw = f"{steps} of {total} steps are warm-up: the rate ends at {reached:.0%} of optimizer.lr"
        where, better = "scheduler.warm_up_steps", [total // 10, *spec.scheduler.warm_up_steps[1:]]
        yield Problem(where, saw, "fewer than the run has", f"set it to {better}", {where: better})


@rule(
    "structured/save-interval",
    "note",
    families=STRUCTURED,
    actions=("train",),
    source="a run that ends early is lost where nothing was saved before its end",
)
def save_interval(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """A run is saved before its end."""
    every, total, where = spec.checkpoint.save_iter, spec.trainer.max_iter, "checkpoint.save_iter"
    if every > total >= FEW_STEPS:
        saw, better = f"{every:,}, and the run has {total:,} steps: it is saved at its end only", max(1, total // 5)
        yield Problem(where, saw, "fewer than the run has", f"set it to {better}", {where: better})


@rule(
    "structured/dropped-records",
    "note",
    families=STRUCTURED,
    actions=("train",),
    source="a run that says it trained on all of its data should have",
)
def dropped_records(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Every epoch visits every record."""
    dropped, records, size = plan.steps.dropped_per_epoch, plan.data.train.num_records, plan.batch.global_batch
    if dropped and plan.steps.per_epoch:
        saw = f"{dropped:,} of {records:,} samples do not fill a global batch of {size}, and are left out of an epoch"
        yield Problem("trainer.grad_accum_iter", f"{saw}, others each time", f"a divisor of {records:,}")


@rule(
    "structured/schedule-lists",
    "error",
    families=STRUCTURED,
    actions=("train",),
    source="upstream indexes all lists by the cycle, and ends with an IndexError mid-run",
)
def schedule_lists(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """Each list of the schedule has an entry for each cycle."""
    want = len(spec.scheduler.cycle_lengths)
    for name in LISTS:
        given = len(getattr(spec.scheduler, name))
        if given != want:
            yield Problem(f"scheduler.{name}", f"{given} entries", f"{want}, as scheduler.cycle_lengths has")


@rule(
    "structured/schedule-end",
    "note",
    families=STRUCTURED,
    actions=("train",),
    source="upstream's scheduler has no answer after its last cycle, and ends with a TypeError mid-run",
)
def schedule_end(spec: Any, facts: Facts, plan: TrainPlan) -> Iterator[Problem]:
    """The cycles are as long as the run; after them the rate stays on the last floor."""
    length, total = sum(spec.scheduler.cycle_lengths), spec.trainer.max_iter
    if length < total and spec.scheduler.name != "constant":
        saw = f"{length} steps of cycles for a run of {total}: the rest runs at the last f_min"
        yield Problem("scheduler.cycle_lengths", saw, f"at least {total}")


@rule(
    "structured/output-inside",
    "error",
    families=STRUCTURED,
    source="a run is written to <output_root>/<project>/<group>/<name>, and nowhere else",
)
def output_inside(spec: StructuredSpec, facts: Facts, plan: object) -> Iterator[Problem]:
    """Project, group and name stay below the output folder."""
    for name in ("project", "group", "name"):
        value = getattr(spec.job, name)
        parts = PurePath(value).parts
        if PurePath(value).is_absolute() or ".." in parts:
            yield Problem(f"job.{name}", value, "a name, without .. and without a leading /")


@rule(
    "structured/asset-missing",
    "error",
    families=STRUCTURED,
    source="seed guides: licence-gated repositories, downloaded before launch; upstream fails on every process",
)
def asset_missing(spec: StructuredSpec, facts: Facts, plan: object) -> Iterator[Problem]:
    """Weights are a directory or file here, or a name on the hub that may be asked; what is missing is named."""
    for ref in spec.models():
        model = facts.models.get(ref.label)
        if model is None or model.directory is not None or model.is_file:
            continue
        if not ref.path:
            yield Problem(ref.key, "no path", "the weights to start from", _advice(spec, ""))
        elif _known(spec, ref.path) or not HUB_ID.fullmatch(ref.location):
            yield Problem(ref.key, f"{ref.location} does not exist", "a directory or a file", _advice(spec, ref.path))
        elif facts.offline:
            saw = f"{ref.location} is not on this machine, and the hub is not asked"
            yield Problem(ref.key, saw, "a local path", "download it first, or leave --offline out")
        elif not model.has_token:
            page = f"https://huggingface.co/{ref.location}"
            saw = f"{ref.location} is not on this machine, and HF_TOKEN is not set"
            fix = f"accept the licence at {page} where there is one, then set HF_TOKEN"
            yield Problem(ref.key, saw, "a token that may read it, or a local path", fix, severity="warning")


def _known(spec: StructuredSpec, path: str) -> str | None:
    """The repository that a path is known to come from."""
    return next((asset.repo for asset in spec.hub if asset.place and asset.place in PurePath(path).parts), None)


def _advice(spec: StructuredSpec, path: str) -> str:
    repo = _known(spec, path)
    if repo is None:
        return "check the path"
    return f"accept the licence at https://huggingface.co/{repo}, and download it"
