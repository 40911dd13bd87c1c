"""Looking at one folder of weights: a model, an adapter, a bare set of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tao_runtime.audit import adapter, model
from tao_runtime.audit.codes import found, some
from tao_runtime.audit.compare import (
    Base,
    check_config,
    check_expected,
    check_values,
    match,
    model_type,
    read_both,
    towers,
    within,
)
from tao_runtime.audit.folder import Folder, Json, read_json
from tao_runtime.audit.header import Tensor
from tao_runtime.audit.lora import Module, lora_config, modules_of
from tao_runtime.audit.names import clean
from tao_runtime.audit.quantized import check_scales
from tao_runtime.audit.report import Part
from tao_runtime.audit.request import Request, Seen
from tao_runtime.audit.values import Values, read_values
from tao_runtime.audit.weights import Weights, read_weights
from tao_runtime.errors import Finding

ADAPTER_WEIGHTS = ("adapter_model", "pytorch_lora_weights")


def is_adapter(folder: Folder) -> bool:
    """Tell an adapter: peft's configuration, or a weight file of its name without the one of a model."""
    named = any(name.startswith(ADAPTER_WEIGHTS) for name in folder.files)
    return adapter.CONFIG in folder.files or (named and model.CONFIG not in folder.files)


def is_model_config(folder: Folder) -> bool:
    """Tell a folder whose config.json is of a model; it should have weights."""
    read = read_json(folder, model.CONFIG)
    return bool(read.findings) or any(key in read.value for key in ("model_type", "architectures", "_class_name"))


def look_at_model(folder: Folder, request: Request, *, companions: bool = True) -> Seen:
    """Audit a folder of full weights, with its configuration if it has one."""
    config, weights = read_json(folder, model.CONFIG), read_weights(folder)
    findings = [*config.findings, *weights.findings]
    if not weights.tensors:
        if config.value and not weights.findings and not _is_pickled(folder):
            findings.append(found("weights-missing", folder.here, "no safetensors weights", "the weights"))
        return Seen((_part(folder, config.value, weights),), tuple(findings))
    findings.extend(model.check_model(folder, config.value, weights, companions=companions, alone=request.base is None))
    if request.base is None:
        return _alone(folder, config.value, weights, request, findings)
    if not request.base.weights.tensors:
        where = str(request.base.folder.path)
        findings.append(found("base-unreadable", where, "a pipeline, and no model", "the component to compare with"))
        return _alone(folder, config.value, weights, request, findings)
    base = request.base if companions else replace(request.base, folder=Folder(request.base.folder.path, ""))
    findings.extend(check_config(folder, config.value, base))
    return _compared(folder, config.value, weights, replace(request, base=base), findings)


def _alone(folder: Folder, config: Json, weights: Weights, request: Request, findings: list[Finding]) -> Seen:
    seen: dict[str, Values] = {}
    if request.values:
        seen = read_values(weights.tensors.values(), progress=request.progress)
        findings.extend(check_values(folder, seen, None))
        findings.extend(check_scales(folder, seen))
    part = _part(folder, config, weights)
    rows = tuple(towers(weights.tensors, seen, None))
    return Seen((part.model_copy(update={"towers": rows, "values_read": bool(seen)}),), tuple(findings))


def _compared(folder: Folder, config: Json, weights: Weights, request: Request, findings: list[Finding]) -> Seen:
    base = request.base
    assert base is not None
    matched = match(folder, config, weights, base)
    findings.extend(matched.findings)
    part = _part(folder, config, weights)
    if request.values is False:
        rows = tuple(towers(matched.tensors, {}, None))
        return Seen((part.model_copy(update={"towers": rows}),), tuple(findings))
    seen, known = read_both(matched.tensors, base, request.progress)
    findings.extend(check_values(folder, seen, known))
    findings.extend(check_scales(folder, seen))
    findings.extend(check_expected(folder, (seen, known), same=request.same, other=request.other))
    rows = tuple(towers(matched.tensors, seen, known))
    return Seen((part.model_copy(update={"towers": rows, "values_read": True}),), tuple(findings))


def _is_pickled(folder: Folder) -> bool:
    return any(name.endswith((".bin", ".pt", ".pth", ".ckpt", ".bin.index.json")) for name in folder.files)


def _part(folder: Folder, config: Json, weights: Weights) -> Part:
    return Part(
        path=folder.label,
        kind="model" if config else "weights",
        model_type=model_type(config),
        tensors=len(weights.tensors),
        parameters=weights.num_parameters,
        bytes=weights.num_bytes,
        dtypes=weights.dtypes(),
    )


def look_at_adapter(folder: Folder, request: Request) -> Seen:
    """Audit an adapter; its values are read unless that is forbidden."""
    config = read_json(folder, adapter.CONFIG)
    weights = read_weights(folder)
    settings = lora_config(config.value)
    findings: list[Finding] = [*config.findings, *weights.findings]
    if not config.findings:
        findings.extend(_config_findings(folder, config.exists, config.value))
    if not weights.tensors and not weights.findings and not _is_pickled(folder):
        findings.append(found("weights-missing", folder.here, "no adapter weights", "adapter_model.safetensors"))
    findings.extend(model.check_wrappers(folder, weights))
    values = {}
    if request.values is not False:
        values = read_values(weights.tensors.values(), rows=True, sha256=False, progress=request.progress)
    if settings.peft_type == "LORA" and weights.tensors:
        base = _base_tensors(request.base)
        findings.extend(adapter.check_adapter(folder, settings, weights, base, values))
    modules, _ = modules_of(weights.tensors)
    findings.extend(_expected(folder, modules, request))
    ranks = [module.rank for module in modules.values() if module.rank is not None]
    part = _part(folder, {}, weights).model_copy(
        update={
            "kind": "adapter",
            "model_type": settings.peft_type,
            "rank": settings.r if settings.r is not None else max(ranks, default=None),
            "modules": len(modules),
            "values_read": bool(values),
        }
    )
    return Seen((part,), tuple(findings))


def _expected(folder: Folder, modules: Mapping[str, Module], request: Request) -> Iterator[Finding]:
    """Yield parts that an adapter changes and should not, or the other way round."""
    for part in dict.fromkeys((*request.same, *request.other)):
        names = [name for name in modules if within(name, part)]
        if names and part in request.same:
            saw = f"{part}: {len(names)} modules have an adapter: {some(sorted(names))}"
            yield found("tower-changed", folder.here, saw, "no adapter there")
        elif not names and part in request.other:
            yield found("tower-unchanged", folder.here, f"{part}: no adapter", "an adapter there")


def _base_tensors(base: Base | None) -> dict[str, Tensor]:
    return {clean(name): tensor for name, tensor in base.weights.tensors.items()} if base is not None else {}


def _config_findings(folder: Folder, exists: bool, config: Json) -> list[Finding]:
    """Return what is wrong with adapter_config.json as such; diffusers' LoRA files need none."""
    where = folder.where(adapter.CONFIG)
    if not exists:
        needs = any(name.startswith("adapter_model") for name in folder.files)
        return [found("adapter-config", where, "missing", "peft's configuration")] if needs else []
    kind, rank = config.get("peft_type"), config.get("r")
    if not isinstance(kind, str):
        return [found("adapter-config", where, "no peft_type", "LORA or another of peft's types")]
    if kind == "LORA" and (type(rank) is not int or rank < 1):
        return [found("adapter-config", where, f"r {str(rank)[:40]}", "a rank of at least 1")]
    return []
