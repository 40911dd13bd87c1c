"""Exporting a committed checkpoint: no process group, no optimizer, and never more than a few tensors in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from accelerate import init_empty_weights
from pydantic import ValidationError
from torch import nn

from tao_runtime.data.commit import COMMIT, Commit, damage
from tao_runtime.data.paths import refuse_file
from tao_runtime.data.snapshot import network_folder, probe_model
from tao_runtime.engine import adapter
from tao_runtime.engine.build import DTYPES
from tao_runtime.engine.commits import list_commits
from tao_runtime.engine.dcp import DcpFolder
from tao_runtime.engine.export.assemble import Assembly
from tao_runtime.engine.export.vllm import serve_findings, serving_notes
from tao_runtime.engine.export.write import Origin, Writer
from tao_runtime.engine.families import wet_family
from tao_runtime.engine.initialise import initial_values, skipped
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.run_dir import PLAN
from tao_runtime.engine.weights import Snapshot, clean_name
from tao_runtime.errors import Finding, FindingsError, Fix, InputError
from tao_runtime.plan.model import TrainPlan
from tao_runtime.spec.base import ModelRef

Weights = Literal["live", "ema"]
ExportForm = Literal["full", "merged", "adapter"]
Target = Literal["transformers", "diffusers", "vllm"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for; None: what suits the run."""

    weights: Weights | None = None
    form: ExportForm | None = None
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A commit, and the plan of the run that made it."""

    directory: Path
    commit: Commit
    plan: TrainPlan

    @property
    def has_ema(self) -> bool:
        return (self.directory / "ema").is_dir()


def export_checkpoint(source: Path, out: Path, wish: Wish) -> Path:
    """Export a run's newest commit, or a given one, into the folder `out`; returns it.

    Raises:
        InputError: there is no such checkpoint. FindingsError: it cannot be exported so, or what was written is wrong.
    """
    checkpoint = find_checkpoint(source)
    findings = [*_look(checkpoint), *_wish_findings(checkpoint, wish)]
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        findings.append(_finding("out", "--out", f"{out} is there already", "a new folder", "name another folder"))
    if findings:
        raise FindingsError(findings)
    refuse_file(out.parent)
    wish = _settled(checkpoint, wish)
    family = wet_family(checkpoint.plan.family)
    origin = Origin(
        checkpoint.plan,
        family,
        checkpoint.commit.step,
        weights=wish.weights or "live",
        target=wish.target,
        checkpoint=checkpoint.directory,
        notes=tuple(serving_notes(checkpoint.plan, wish.form)) if wish.target == "vllm" else (),
    )
    assembly = _assembly(checkpoint, origin)
    out.parent.mkdir(parents=True, exist_ok=True)
    as_adapter = wish.form == "adapter"
    skip = skipped(assembly.model, family, checkpoint.plan.model.skip_loading) - assembly.fresh
    trained = frozenset((*DcpFolder(checkpoint.directory / "model").names, *map(clean_name, skip)))
    writer = Writer(origin, assembly, None if as_adapter else out, out if as_adapter else None, trained)
    lora = checkpoint.plan.model.lora
    tensors = assembly.adapter_only(lora.modules_to_save) if as_adapter and lora is not None else assembly.merged()
    try:
        with StepProgress("export", len(assembly.forms(origin.dtype))) as progress:
            for name, value in tensors:
                writer.take(name, value)
                progress.advance()
        wrong = writer.close()
    finally:
        writer.discard()
    if wrong:
        raise FindingsError(wrong)
    return out


def find_checkpoint(source: Path) -> Checkpoint:
    """Return the commit that a path means: the newest of a run, or itself.

    Raises:
        InputError: no commit, or no plan of ours beside it.
    """
    if (source / COMMIT).is_file():
        run_dir, directory = source.resolve().parent.parent, source.resolve()
    elif (source / PLAN).is_file():
        run_dir, commits = source.resolve(), list_commits(source.resolve() / "checkpoints")
        if not commits:
            raise InputError(f"{source}/checkpoints: no committed checkpoint; want a run that has saved one")
        directory = commits[-1][0]
    else:
        raise InputError(f"{source}: neither {PLAN} nor {COMMIT}; want a run directory, or its checkpoints/iter_…")
    try:
        plan = TrainPlan.model_validate_json((run_dir / PLAN).read_bytes())
        commit = Commit.model_validate_json((directory / COMMIT).read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{run_dir}: {reason}; want the {PLAN} and {COMMIT} of a training run of ours") from error
    return Checkpoint(directory, commit, plan)


def _look(checkpoint: Checkpoint) -> Iterator[Finding]:
    """The commit must be as it was saved, and the base must be the one it was trained from."""
    where = str(checkpoint.directory)
    for problem in damage(checkpoint.directory, checkpoint.commit, hashes=True):
        yield _finding("damage", where, problem, "the files as they were committed", "restore it, or export another")
    model = checkpoint.plan.model
    facts = probe_model(ModelRef("model", model.path, "checkpoint", model.revision))
    if facts.directory is None or facts.missing:
        saw = "not on this machine" if facts.directory is None else f"missing {', '.join(facts.missing[:5])}"
        yield _finding("base", model.path, saw, "the base that the run was trained from", "bring it back to this path")
    elif model.weights_sha256 is not None and facts.weights_sha256 != model.weights_sha256:
        saw = f"other weights than the run began with (digest {(facts.weights_sha256 or 'none')[:12]})"
        yield _finding("base", model.path, saw, f"digest {model.weights_sha256[:12]}", "restore the base")


def _wish_findings(checkpoint: Checkpoint, wish: Wish) -> Iterator[Finding]:
    lora, library = checkpoint.plan.model.lora, wet_family(checkpoint.plan.family).EXPORT.library
    if wish.weights == "ema" and not checkpoint.has_ema:
        yield _finding("weights", "--weights", "ema, and this run kept no averages", "live", "leave --weights out")
    if wish.form == "full" and lora is not None:
        yield _finding("form", "--form", "full, of a run that trained an adapter", "merged or adapter", "say merged")
    if wish.form in ("merged", "adapter") and lora is None:
        yield _finding("form", "--form", f"{wish.form}, of a run without LoRA", "full", "leave --form out")
    served = {"transformers": ("transformers", "vllm"), "diffusers": ("diffusers",)}[library]
    if wish.target is not None and wish.target not in served:
        yield _finding("target", "--target", wish.target, " or ".join(served), "leave --target out")
    elif wish.target == "vllm":
        yield from serve_findings(checkpoint.plan, network_folder(Path(checkpoint.plan.model.path)), wish.form)


def _settled(checkpoint: Checkpoint, wish: Wish) -> Wish:
    """Fill in what was not asked: averages where the run kept them, LoRA merged: what the end of a training exports."""
    form: ExportForm = "full" if checkpoint.plan.model.lora is None else "merged"
    return Wish(wish.weights or ("ema" if checkpoint.has_ema else "live"), wish.form or form, wish.target)


def _assembly(checkpoint: Checkpoint, origin: Origin) -> Assembly:
    """Return the network without memory, and where each of its tensors is read from."""
    plan = checkpoint.plan
    with init_empty_weights(include_buffers=False):
        model = origin.family.build(Path(plan.model.architecture or network_folder(origin.base)), packed=True)
    if (tie := getattr(model, "tie_weights", None)) is not None:
        tie()  # a head that is the embedding has no tensor of its own
    if plan.model.lora is not None:
        adapter.inject(model, plan.model.lora)
    fresh = frozenset(origin.family.fresh_parameters(model))
    part, prefix = ("ema", "0.") if origin.weights == "ema" else ("model", "")
    saved = DcpFolder(checkpoint.directory / part)
    base, master = Snapshot(network_folder(origin.base)), DTYPES[plan.precision.master]
    known = {clean_name(name) for name, _ in model.named_parameters()}
    strange = sorted(name for name in saved.names if name.removeprefix(prefix) not in known)
    if strange:
        raise InputError(f"{checkpoint.directory}: {strange[0]} is no tensor of this network; want this run's base")

    kept = {clean_name(name) for name in skipped(model, origin.family, plan.model.skip_loading) - fresh}
    kept -= {name.removeprefix(prefix) for name in saved.names}  # neither loaded nor trained: as the run began them
    build = partial(origin.family.build, Path(plan.model.architecture or network_folder(origin.base)), packed=True)
    begun = dict(initial_values(build, kept, seed=plan.seed)) if kept else {}

    def read(name: str, parameter: nn.Parameter) -> torch.Tensor:
        if prefix + name in saved.names:
            return saved.read(prefix + name).to(master)
        return (begun[name] if name in begun else base.read(name)).to(master)

    return Assembly(model, read, fresh)


def _finding(rule: str, where: str, saw: str, want: str, fix: str) -> Finding:
    return Finding(rule=f"export/{rule}", severity="error", where=where, saw=saw, want=want, fix=Fix(text=fix))
