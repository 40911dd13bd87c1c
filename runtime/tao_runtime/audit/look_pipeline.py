"""Looking at a pipeline of diffusers: model_index.json against its folders, and each component."""

from __future__ import annotations

from tao_runtime.audit.codes import found
from tao_runtime.audit.compare import model_type
from tao_runtime.audit.folder import Folder, Json, read_json, shorten, text, texts
from tao_runtime.audit.look_model import look_at_model
from tao_runtime.audit.model import CONFIG, PROCESSORS, TOKENIZERS
from tao_runtime.audit.report import Part
from tao_runtime.audit.request import Request, Seen, read_base
from tao_runtime.audit.weights import has_weights
from tao_runtime.errors import Finding

INDEX = "model_index.json"
SCHEDULER = "scheduler_config.json"
# Components without weights, by the end of their class's name, and the files that one of must be there.
_LIGHT = (
    (("Tokenizer", "TokenizerFast"), TOKENIZERS),
    (("Scheduler",), (SCHEDULER,)),
    (("Processor", "ProcessorFast", "Extractor", "FeatureExtractor"), PROCESSORS + TOKENIZERS),
)


def look_at_pipeline(folder: Folder, request: Request) -> Seen:
    """Audit a pipeline and every component that model_index.json names."""
    index = read_json(folder, INDEX)
    part = Part(path=folder.label, kind="pipeline", model_type=text(index.value, "_class_name"))
    seen = Seen((part,), index.findings)
    if index.findings:
        return seen
    components = {name: value for name, value in index.value.items() if _is_component(name, value)}
    for name, value in sorted(components.items()):
        if value == [None, None]:
            continue  # an optional component that this pipeline does without
        if name not in folder.folders:
            saw = f"{shorten(name)} of class {shorten(str(value[1]))}, and no folder"
            seen += Seen((), (found("component-missing", folder.where(INDEX), saw, f"a folder {shorten(name)}"),))
            continue
        seen += _component(folder.sub(name), str(value[1]), _component_request(request, name))
    for name in sorted(folder.folders - components.keys()):
        if not name.startswith(".") and has_weights(folder.sub(name)):
            saw = f"weights, and {INDEX} does not name the folder"
            seen += Seen((), (found("component-unlisted", folder.where(name), saw, "only named components"),))
    return seen


def _is_component(name: str, value: object) -> bool:
    return not name.startswith("_") and isinstance(value, list) and len(value) == 2 and not isinstance(value[0], bool)


def _component_request(request: Request, name: str) -> Request:
    """Return the request for a component: against the same component of the base, where the base has it."""
    if request.base is None or name not in request.base.folder.folders:
        return request.against(None)
    base, _ = read_base(request.base.folder.path / name)
    return request.against(base if base.weights.tensors else None)


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
            return Seen((), tuple(findings))
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
    return [found("component-class", folder.where(CONFIG), shorten(named[0]), f"{shorten(cls)} of {INDEX}")]
