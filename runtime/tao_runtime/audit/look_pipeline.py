"""Looking at a pipeline of diffusers: model_index.json against its folders, and each component."""

from __future__ import annotations

from dataclasses import replace

from tao_runtime.audit.codes import found
from tao_runtime.audit.compare import model_type
from tao_runtime.audit.folder import Folder, Json, read_json, shorten, text, texts
from tao_runtime.audit.look_model import is_adapter, is_model_config, look_at_adapter, look_at_model
from tao_runtime.audit.model import CONFIG, PIPELINE, PROCESSORS, TOKENIZERS
from tao_runtime.audit.report import Part
from tao_runtime.audit.request import Request, Seen, read_base
from tao_runtime.audit.weights import has_weights
from tao_runtime.errors import Finding

SAME = "audit/same-as-base"
SCHEDULER = "scheduler_config.json"
# Components without weights, by the end of their class's name, and the files that one of must be there.
_LIGHT = (
    (("Tokenizer", "TokenizerFast"), TOKENIZERS),
    (("Scheduler",), (SCHEDULER,)),
    (("Processor", "ProcessorFast", "Extractor", "FeatureExtractor"), PROCESSORS + TOKENIZERS),
)


def look_at_pipeline(folder: Folder, request: Request) -> Seen:
    """Audit a pipeline: every component that model_index.json names, and every other folder that is a model."""
    index = read_json(folder, PIPELINE)
    part = Part(path=folder.label, kind="pipeline", model_type=text(index.value, "_class_name"))
    if index.findings:
        return Seen((part,), index.findings)
    if request.base is not None and PIPELINE not in request.base.folder.files:
        where, saw = str(request.base.folder.path), f"no {PIPELINE}"
        return Seen((part,), (found("base-unreadable", where, saw, "a pipeline, as what is compared with it is"),))
    inner = _components(folder, index.value, request)
    # Most components of a tuned pipeline are the base's; that all of them are is worth a word.
    same = [finding for finding in inner.findings if finding.rule == SAME]
    if len(same) < sum(part.tensors > 0 for part in inner.parts):
        inner = Seen(inner.parts, tuple(finding for finding in inner.findings if finding.rule != SAME))
    return Seen((part,), index.findings) + inner


def _components(folder: Folder, index: Json, request: Request) -> Seen:
    """Look at every component, and for folders that are none."""
    seen = Seen()
    components = {name: value for name, value in index.items() if _is_component(name, value)}
    for name, value in sorted(components.items()):
        if value == [None, None]:
            # Left out, or of a class that the saving library does not know: then its folder is there all the same.
            seen += _unnamed(folder, name, request)
            continue
        if name not in folder.folders:
            saw = f"{shorten(name)} of class {shorten(str(value[1]))}, and no folder"
            seen += Seen((), (found("component-missing", folder.where(PIPELINE), saw, f"a folder {shorten(name)}"),))
            continue
        seen += _component(folder.sub(name), str(value[1]), _component_request(request, name))
    for name in dict.fromkeys((*request.same, *request.other)):
        known = request.base.folder.folders if request.base is not None else frozenset()
        if name.partition(".")[0] not in components.keys() & known:
            saw = f"no component {shorten(name)}"
            seen += Seen((), (found("tower-unknown", folder.where(PIPELINE), saw, "a component, or a module of one"),))
    for name in sorted(folder.folders - components.keys()):
        if not name.startswith(".") and has_weights(folder.sub(name)):
            saw = f"weights, and {PIPELINE} does not name the folder"
            seen += Seen((), (found("component-unlisted", folder.where(name), saw, "only named components"),))
        if not name.startswith("."):
            seen += _unnamed(folder, name, request)
    return seen


def _unnamed(folder: Folder, name: str, request: Request) -> Seen:
    """Look at a folder whose class model_index.json does not say: what is in it says whether it is a model."""
    if name not in folder.folders:
        return Seen()
    inner, own = folder.sub(name), _component_request(request, name)
    if is_adapter(inner):
        return Seen((), inner.findings) + look_at_adapter(inner, own)
    if has_weights(inner) or is_model_config(inner):
        return Seen((), inner.findings) + look_at_model(inner, own, companions=False)
    return Seen((), inner.findings)


def _is_component(name: str, value: object) -> bool:
    return not name.startswith("_") and isinstance(value, list) and len(value) == 2 and not isinstance(value[0], bool)


def _component_request(request: Request, name: str) -> Request:
    """Return the request for a component: against the same component of the base, where the base has it."""
    if request.base is None or name not in request.base.folder.folders:
        return request.against(None)
    base, _ = read_base(request.base.folder.path / name)
    return replace(request, base=base if base.weights.tensors else None, same=_inner(request.same, name),
                   other=_inner(request.other, name))  # fmt: skip


def _inner(parts: tuple[str, ...], component: str) -> tuple[str, ...]:
    """Return what is expected of a component: `vae` is all of vae, `vae.decoder` its decoder."""
    return tuple(part.removeprefix(component).removeprefix(".") for part in parts
                 if part == component or part.startswith(f"{component}."))  # fmt: skip


def _component(folder: Folder, cls: str, request: Request) -> Seen:
    findings = list(folder.findings)
    for ends, wanted in _LIGHT:
        # The names of tokenizer classes change with their library; what lies in the folder does not.
        if cls.endswith(ends) or (CONFIG not in folder.files and folder.files.intersection(wanted)):
            if not folder.files.intersection(wanted):
                findings.append(
                    found("component-config", folder.here, "no configuration file", " or ".join(wanted[:2]))
                )
            findings.extend(problem for name in sorted(folder.files & set(wanted)) if name.endswith(".json")
                            for problem in read_json(folder, name).findings)  # fmt: skip
            light = Seen((), tuple(findings))
            return light + look_at_model(folder, request, companions=False) if has_weights(folder) else light
    config = read_json(folder, CONFIG)
    if not config.exists:
        findings.append(found("component-config", folder.here, f"no {CONFIG}", f"{CONFIG} of {shorten(cls)}"))
    findings.extend(_class(folder, cls, config.value))
    if not has_weights(folder) and not config.exists:
        findings.append(found("weights-missing", folder.here, "no safetensors weights", "the weights"))
    return Seen((), tuple(findings)) + look_at_model(folder, request, companions=False)


def _class(folder: Folder, cls: str, config: Json) -> list[Finding]:
    """Return a configuration that is of another class than the pipeline names."""
    named = [name for name in (text(config, "_class_name"), *texts(config.get("architectures"))) if name]
    if not named or cls in named or model_type(config) is None:
        return []
    # A text encoder is saved under the class that it was, and may be read as its encoder alone.
    stems = {name.removesuffix("EncoderModel").removesuffix("Model").removesuffix("ForConditionalGeneration")
             for name in (*named, cls)}  # fmt: skip
    if len(stems) == 1:
        return []
    return [found("component-class", folder.where(CONFIG), shorten(named[0]), f"{shorten(cls)} of {PIPELINE}")]
