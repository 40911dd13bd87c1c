"""`audit --probe`: each part of an audit is loaded with its library and run once, beside its base if there is one."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tao_runtime.audit.codes import found
from tao_runtime.audit.report import AuditReport, Part, Probe, make_report
from tao_runtime.data.snapshot import local_directory
from tao_runtime.engine.gates.fingerprint import checksum
from tao_runtime.engine.trial.inputs import Trial, run_trial, trial_of
from tao_runtime.engine.trial.load import NETWORK, UNREADABLE, load_adapter, load_network, network_of
from tao_runtime.engine.weights import Snapshot
from tao_runtime.errors import Finding
from tao_runtime.spec.base import ModelRef

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
# How far a merged model may be from base and adapter apart, of the largest output; half precision rounds the weights.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
ADAPTER_CONFIG = "adapter_config.json"
MERGED = "model"  # an exported adapter has the merged model beside it


@dataclass(frozen=True, slots=True)
class Answer:
    """What a network answered, and from which weights."""

    out: torch.Tensor
    said: str  # what was asked
    weights: dict[str, int]  # parameter that had a part in it -> checksum of its bits


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a network: its answer, if it has one, and what is wrong."""

    answer: Answer | None = None
    findings: tuple[Finding, ...] = ()
    loaded: bool = False

    def probe(self, part: Part, difference: float | None = None) -> Probe:
        said = self.answer.said if self.answer is not None else None
        return Probe(path=part.path, loaded=self.loaded, input=said, difference=difference)


def probe_report(report: AuditReport, path: Path, *, base: Path | None = None) -> AuditReport:
    """Return the report with what loading and running shows, which files alone do not tell."""
    probes: list[Probe] = []
    findings: list[Finding] = list(report.findings)
    pipelines = [part.path for part in report.parts if part.kind == "pipeline"]
    for part in report.parts:
        folder = path / part.path
        within = any(part.path != outer and _is_below(part.path, outer) for outer in pipelines)
        look = {"adapter": _adapter, "model": _model, "pipeline": _model}.get(part.kind)
        if look is None or not folder.is_dir() or (within and folder.name == NETWORK):
            continue  # a pipeline is run as its network
        probe, wrong = look(part, folder, None if within else base)
        findings.extend(wrong)
        if probe.loaded or wrong or not within:
            probes.append(probe)
        gc.collect()
    if not probes and report.ok:  # who asks for a probe must not take silence for one
        kinds = ", ".join(dict.fromkeys(part.kind for part in report.parts)) or "nothing"
        saw = f"nothing could be probed: {'one file' if path.is_file() else kinds}"
        findings.append(found("probe-nothing", path.name or str(path), saw, "a folder that a library loads"))
    same = {"path": report.path, "base": report.base, "seconds": report.seconds}
    return make_report(findings, report.parts, **same).model_copy(update={"probes": tuple(probes)})  # type: ignore[arg-type]


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def _model(part: Part, folder: Path, base: Path | None) -> tuple[Probe, tuple[Finding, ...]]:
    where, dtype = part.path or folder.name, _dtype(part, folder)
    own = _see(network_of(folder), where, dtype)
    if own.answer is None or base is None:
        return own.probe(part), own.findings
    other = _see(network_of(base), str(base), dtype)
    if other.answer is None or other.answer.out.shape != own.answer.out.shape:
        return own.probe(part), (*own.findings, *other.findings)
    difference = _largest(own.answer.out - other.answer.out)
    findings = [*own.findings, *other.findings]
    moved = [name for name, total in own.answer.weights.items() if other.answer.weights.get(name) != total]
    if difference == 0 and (moved or own.answer.weights == other.answer.weights):
        saw = f"the base's very output for {own.answer.said}, from {len(moved)} tensors that differ"
        findings.append(found("probe-same-output", where, saw, "another output than the base's"))
    return own.probe(part, difference), tuple(findings)


def _adapter(part: Part, folder: Path, base: Path | None) -> tuple[Probe, tuple[Finding, ...]]:
    """Look at an adapter on its base: on and off differ, and the merged model beside it is the two together."""
    where = part.path or folder.name
    under = base if base is not None else _named_base(folder)
    if under is None or not (folder / ADAPTER_CONFIG).is_file():
        return Seen().probe(part), (found("probe-no-base", where, "no base to put it on", "--base"),)
    merged, dtype = folder.parent / MERGED, torch.float32
    network = load_network(network_of(under), str(under), dtype=dtype)
    off = _see_network(network.network, str(under), network.findings)
    if network.network is None or off.answer is None:
        return off.probe(part), off.findings
    adapted = load_adapter(network.network, folder, where)
    on = _see_network(adapted.network, where, adapted.findings)
    if on.answer is None:
        return on.probe(part), (*off.findings, *on.findings)
    effect = _largest(on.answer.out - off.answer.out)
    findings = [*off.findings, *on.findings]
    if effect == 0:
        saw = f"the same output with it and without it, for {on.answer.said}"
        findings.append(found("probe-silent-adapter", where, saw, "an adapter that changes the output"))
    del network, adapted
    if (merged / "config.json").is_file() or (merged / "model_index.json").is_file():
        findings.extend(_merged(merged, on.answer, effect))
    return on.probe(part, effect), tuple(findings)


def _merged(folder: Path, on: Answer, effect: float) -> Iterator[Finding]:
    """Compare the merged model with base and adapter. Weights in half precision are rounded when they are merged."""
    stored = _stored(network_of(folder))
    seen = _see(network_of(folder), folder.name, torch.float32)
    if seen.answer is None or seen.answer.out.shape != on.out.shape:
        return
    apart, largest = _largest(seen.answer.out - on.out), _largest(on.out)
    allowed = TOLERANCE[stored] * largest
    if stored is not torch.float32:
        allowed = max(allowed, effect / 2)
    if apart > allowed:
        saw = (
            f"{apart:.3g} from base and adapter, of outputs up to {largest:.3g}; the adapter's own effect {effect:.3g}"
        )
        yield found("probe-merge-differs", folder.name, saw, f"at most {allowed:.2g}")


def _named_base(folder: Path) -> Path | None:
    """Return the base that an adapter's configuration names, if it is on this machine."""
    try:
        named = json.loads((folder / ADAPTER_CONFIG).read_text()).get("base_model_name_or_path")
    except (OSError, ValueError):
        return None
    return local_directory(ModelRef("base", named, "base")) if isinstance(named, str) and named else None


def _see(folder: Path, where: str, dtype: torch.dtype) -> Seen:
    loaded = load_network(folder, where, dtype=dtype)
    return _see_network(loaded.network, where, loaded.findings)


def _see_network(network: nn.Module | None, where: str, findings: tuple[Finding, ...]) -> Seen:
    """Run a network once, where it is known what goes in."""
    inner: Any = network
    trial = None if network is None else trial_of(inner.get_base_model() if hasattr(inner, "peft_config") else inner)
    if network is None or trial is None:
        return Seen(None, findings, network is not None)
    try:
        out, reached = _run(network, trial)
    except UNREADABLE as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        wrong = found("probe-load", where, f"forward of {type(network).__name__}: {said}", "a network that runs")
        return Seen(None, (*findings, wrong), True)
    if not bool(torch.isfinite(out).all()):
        count = int((~torch.isfinite(out)).sum())
        saw = f"{count:,} of {out.numel():,} outputs for {trial.said} are not finite"
        findings = (*findings, found("probe-not-finite", where, saw, "finite outputs"))
    return Seen(Answer(out, trial.said, reached), findings, True)


def _run(network: nn.Module, trial: Trial) -> tuple[torch.Tensor, dict[str, int]]:
    """Return the output, and the checksums of the parameters of every module that ran."""
    ran: set[int] = set()
    hooks = [module.register_forward_hook(lambda inner, *_: ran.add(id(inner))) for module in network.modules()]
    try:
        out = run_trial(network, trial)
    finally:
        for hook in hooks:
            hook.remove()
    reached = {
        f"{name}.{leaf}": int(checksum(value))
        for name, module in network.named_modules()
        if id(module) in ran
        for leaf, value in module.named_parameters(recurse=False)
    }
    return out, reached


def _largest(values: torch.Tensor) -> float:
    return float(values.abs().max())


def _stored(folder: Path) -> torch.dtype:
    """Return the type of the first tensor of a folder that is a number to compute with."""
    snapshot = Snapshot(folder)
    kinds = (snapshot.read(name).dtype for name in sorted(snapshot.names))
    return next((kind for kind in kinds if kind in TOLERANCE), torch.float32)


def _dtype(part: Part, folder: Path) -> torch.dtype:
    """Return the type that most of a part's weights have; float32 where that is none to compute in."""
    return DTYPES.get(next(iter(part.dtypes), ""), _stored(network_of(folder)))
