"""The plan as a page to read: what a run will do first, everything else on request (`--json`)."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from tao_runtime.plan.costs import EstimatePlan
from tao_runtime.plan.model import AnyPlan, EvaluatePlan, QuantizePlan, TrainPlan, VideoEvaluatePlan, VideoInferencePlan


def plan(found: AnyPlan, *, as_json: bool) -> None:
    """Print a plan."""
    if as_json:
        print(found.model_dump_json(by_alias=True, indent=1))
        return
    table = Table(f"{found.family} {found.action}", "", box=box.SIMPLE_HEAD, show_header=True)
    for name, value in _lines(found):
        table.add_row(name, value)
    Console().print(table)


def _lines(found: AnyPlan) -> Iterator[tuple[str, str]]:
    if isinstance(found, TrainPlan):
        yield from _train(found)
        return
    if isinstance(found, VideoEvaluatePlan | VideoInferencePlan):
        yield from _video(found)
        return
    if isinstance(found, QuantizePlan):
        yield from _quantize(found)
        return
    yield "model", found.model.path + (f" on {found.model.base_path}" if found.model.base_path else "")
    yield "answers about", found.data.annotation if isinstance(found, EvaluatePlan) else found.media
    if isinstance(found, EvaluatePlan):
        yield "records", _number(found.limit if found.limit is not None else found.data.num_records)
    yield "processes", str(found.world)
    yield "longest answer", f"{found.generation.max_new_tokens} tokens"
    yield "written to", found.output_dir


def _quantize(found: QuantizePlan) -> Iterator[tuple[str, str]]:
    scheme, proof = found.scheme, found.proof
    yield "model", found.model.path + (f" merged into {found.model.base_path}" if found.model.base_path else "")
    yield "scheme", scheme.name + (f", groups of {scheme.group_size}" if scheme.group_size else "")
    yield "method", scheme.method + (f", smoothing {scheme.smoothing:g}" if scheme.smoothing else "")
    yield "keys and values", "fp8" if scheme.kv_fp8 else "as the weights are stored"
    if found.calibration is not None:
        yield "calibration", f"{scheme.samples:,} of {_number(found.calibration.num_records)} records"
    if found.data is not None:
        yield "proof", f"{_number(proof.limit or found.data.num_records)} records of {found.data.annotation}"
        yield "accuracy that may be lost", f"{proof.accuracy_budget:.1%}"
    yield "written to", found.output_dir


def _video(found: VideoEvaluatePlan | VideoInferencePlan) -> Iterator[tuple[str, str]]:
    yield "model", found.model.path + (f" on {found.model.base_path}" if found.model.base_path else "")
    if isinstance(found, VideoEvaluatePlan):
        yield "clips", f"{_number(found.limit or found.data.num_records)} of {found.data.annotation}"
        yield "loss at noise levels", ", ".join(f"{level:.3g}" for level in found.noise_levels)
        yield "videos made", str(found.num_videos)
    else:
        height, width = found.size
        yield "prompts", found.prompts or found.prompt
        yield "video", f"{found.num_frames} frames of {height}x{width} at {found.fps:g} per second"
    yield "sampler", f"{found.sampler.num_steps} steps, guidance {found.sampler.guidance:g}"
    yield "written to", found.output_dir


def _train(found: TrainPlan) -> Iterator[tuple[str, str]]:
    steps, batch, mesh, estimate = found.steps, found.batch, found.mesh, found.estimate
    chosen = (
        f"weights with {', '.join(found.optimizer.keys_to_select)}" if found.optimizer.keys_to_select else "all weights"
    )
    yield "model", f"{found.model.path}, {f'LoRA rank {found.model.lora.r}' if found.model.lora else chosen}"
    yield "training records", f"{_number(found.data.train.num_records)} of {found.data.train.annotation}"
    if found.data.val is not None:
        yield "validation records", _number(found.data.val.num_records)
    epochs = f" = {_number(steps.per_epoch)} an epoch x {steps.epochs} epochs" if steps.epochs is not None else ""
    yield "optimizer steps", f"{_number(steps.total)}{epochs}"
    if steps.limit:
        yield "", f"stopped at {steps.limit}"
    if steps.epochs is None and steps.passes is not None:
        samples = f"about {steps.samples:,.0f} samples a step, " if not batch.micro and steps.samples else ""
        yield "", f"{samples}each sample visited about {steps.passes:,.3g} times"
    if found.schedule.warmup_steps:
        yield "warm-up", f"{found.schedule.warmup_steps:,} steps"
    if steps.dropped_per_epoch:
        yield "left out of each epoch", f"{steps.dropped_per_epoch} records, others each time (dataloader_drop_last)"
    cut: tuple[str, ...] = (f"{batch.micro} samples", f"{_number(batch.accumulation)} micro-batches")
    if batch.micro_tokens is not None:
        cut = (f"{batch.per_rank} samples",)
    elif not batch.micro:
        cut = (f"{_number(batch.pack_tokens)} tokens", f"{_number(batch.accumulation)} micro-batches")
    parts = (*cut, f"{_number(batch.data_parallel)} data-parallel ranks")
    yield "global batch", f"{_number(batch.global_batch)} = {' x '.join(parts)}"
    if batch.micro_tokens is not None:
        yield "", f"in micro-batches of at most {_number(batch.micro_tokens)} tokens"
    inner = "".join(f" x {size} {axis}" for axis in ("cp", "tp", "pp", "cfg") if (size := getattr(mesh, axis)) > 1)
    degrees = f"{_number(mesh.dp_replicate)} replicas x {_number(mesh.dp_shard)} shards{inner}"
    fits = batch.data_parallel is not None
    yield "mesh", f"{degrees} = {mesh.world} processes" if fits else f"{degrees} are not {mesh.world} processes"
    if found.diffusion is not None:
        yield from _diffusion(found)
    yield "longest sample", f"at most {_number(estimate.max_tokens)} tokens; limit {_number(found.model.max_length)}"
    if estimate.tokens_p50 is not None:
        yield "", f"half of them at most {estimate.tokens_p50:,}, 99 % at most {_number(estimate.tokens_p99)}"
    state = estimate.state_bytes_per_rank
    yield "weights, gradients, optimizer", f"{_bytes(state)} per process, activations not included"
    if (memory := estimate.memory) is not None:
        total = memory.total
        yield "memory", f"about {_bytes(total.expected)} per process ({_bytes(total.low)} to {_bytes(total.high)})"
    yield "time", _time(estimate)
    saved = f"{_bytes(estimate.checkpoint_bytes)}, {_how_often(found.checkpoint.every_steps, steps.total)}"
    yield "a checkpoint", saved if found.checkpoint.enabled else "none: the run is not saved"
    if found.validation.enabled:
        yield "validation", _how_often(found.validation.every_steps, steps.total)
    yield "learning rate", ", ".join(f"{rate:g} ({part})" for part, rate in found.optimizer.lr.items())
    yield "written to", found.output_dir


def _how_often(every: int | None, total: int | None) -> str:
    """Say how often something is done, and how many times in the run; the end of a run counts as one."""
    if not every or total is None:
        return f"every {_number(every)} steps"
    return f"every {every:,} steps, {-(-total // every):,} times"


def _number(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _time(estimate: EstimatePlan) -> str:
    """Say how long a step and the run should take, at the share of a device's peak that training usually reaches."""
    step, every = estimate.step_seconds, estimate.total_seconds
    if step is None:
        return "not known: the arithmetic per second of the device is not"
    text = f"about {step.expected:.1f} s a step ({step.low:.1f} to {step.high:.1f})"
    return text + (f", {every.expected / 3600:.1f} h in all" if every else "")


def _bytes(value: float | None) -> str:
    if value is None:
        return "unknown"
    size, units = float(value), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.1f} {units[0]}"


def _diffusion(found: TrainPlan) -> Iterator[tuple[str, str]]:
    plan, clips = found.diffusion, found.data.clips
    assert plan is not None and clips is not None
    given = ", ".join(f"{count} ({share:.0%})" for count, share in plan.condition.frames.items())
    yield "objective", f"{plan.noise.objective}, shift {plan.noise.shift:g}, loss x {plan.noise.loss_scale:g}"
    yield "frames of a sample", "as its window has" if clips.num_frames is None else str(clips.num_frames)
    yield "latent frames given", given
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in found.data.train.dropped.items())
    yield "samples left out", dropped or "none known"
    yield "averaged weights", f"rate {found.ema.rate:g}" if found.ema else "no"
