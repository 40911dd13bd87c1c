"""A model folder by itself: its configuration against its tensors, tie flags, and the files that travel with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tao_runtime.audit.codes import found, some
from tao_runtime.audit.folder import Folder, Json, number, read_json, shorten, table, text, texts
from tao_runtime.audit.header import Tensor
from tao_runtime.audit.names import clean, layer_numbers, wrapper_in
from tao_runtime.audit.quantized import check_quantised, is_compressed
from tao_runtime.audit.shards import shards_of, vote
from tao_runtime.audit.values import read_values
from tao_runtime.audit.weights import Weights
from tao_runtime.errors import Finding

CONFIG = "config.json"
PIPELINE = "model_index.json"
TIE = "tie_word_embeddings"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "sentencepiece.bpe.model",
              "tekken.json", "tokenizer_config.json")  # fmt: skip
PROCESSORS = ("processor_config.json", "preprocessor_config.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json")
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "float": "F32", "half": "F16"}


def check_model(
    folder: Folder, config: Json, weights: Weights, *, companions: bool, alone: bool = True
) -> Iterator[Finding]:
    """Yield what is wrong with a model folder. Not `alone`: a base will tell some of it better."""
    yield from check_wrappers(folder, weights)
    if not weights.tensors:
        return
    if config:
        tensors = {clean(name): tensor for name, tensor in weights.tensors.items()}
        if weights.is_whole:
            yield from _layers(folder, config, tensors)
            yield from _ties(folder, config, tensors)
        yield from _sizes(folder, config, tensors, alone=alone)
        yield from _dtype(folder, config, weights)
        if weights.is_whole and is_compressed(config):
            yield from check_quantised(folder, config, tensors)
    if companions and alone and writes_text(config):
        yield from _companions(folder, config)


def check_wrappers(folder: Folder, weights: Weights) -> Iterator[Finding]:
    """Yield the names that a wrapper has left in the weights."""
    wrapped: dict[str, list[str]] = {}
    for name in weights.tensors:
        wrapper = wrapper_in(name)
        if wrapper:
            wrapped.setdefault(wrapper, []).append(shorten(name))
    for wrapper, names in wrapped.items():
        saw = f"{len(names)} of {len(weights.tensors)} names contain {wrapper!r}: {some(names, 1)}"
        yield found("key-prefix", folder.here, saw, "the names of the model's own modules")


def writes_text(config: Json) -> bool:
    names = texts(config.get("architectures"))
    return any(name.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")) for name in names)


def text_config(config: Json) -> Json:
    """Return the part of a configuration that is about text: the whole of it for a model that only reads."""
    return table(config, "text_config") or config


def _embedding(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Return the table of token embeddings, if there is exactly one of the usual name."""
    named = [tensor for name, tensor in tensors.items() if name.endswith("embed_tokens.weight")]
    return named[0] if len(named) == 1 and len(named[0].shape) == 2 else None


def _layers(folder: Folder, config: Json, tensors: Mapping[str, Tensor]) -> Iterator[Finding]:
    """Yield lists of layers with holes, or of another length than the configuration says."""
    lists, inner = layer_numbers(tensors), text_config(config)
    for prefix, numbers in lists.items():
        if prefix.rpartition(".")[2] not in {"layers", "blocks"}:
            continue  # other lists may have holes: a ReLU between two linear layers has no weights
        holes = [str(place) for place in range(max(numbers) + 1) if place not in numbers]
        if holes:
            saw = f"{prefix}: {len(numbers)} layers up to {max(numbers)}, without {some(holes)}"
            yield found("layers-missing", folder.here, saw, "every layer")
    embedding = _embedding(tensors)
    if embedding is None:
        return
    prefix = clean(embedding.name).removesuffix("embed_tokens.weight") + "layers"
    said, extra = number(inner, "num_hidden_layers"), any("nextn" in key or "mtp" in key for key in inner)
    have = len(lists.get(prefix, ()))
    if said is not None and have and (have < said or (have > said and not extra)):
        yield found("layers-missing", folder.here, f"{prefix}: {have} layers", f"num_hidden_layers {said} of {CONFIG}")


def _sizes(folder: Folder, config: Json, tensors: Mapping[str, Tensor], *, alone: bool) -> Iterator[Finding]:
    """Yield a vocabulary or a width of the configuration that contradicts the table of embeddings."""
    embedding, inner = _embedding(tensors), text_config(config)
    if embedding is None or not embedding.size or table(config, "quantization_config"):
        return
    name, (rows, width) = shorten(clean(embedding.name)), embedding.shape
    for key, size in (("vocab_size", rows), ("hidden_size", width)):
        said = number(inner, key)
        if said is None or said == size:
            continue
        full = {n: True for n, exact in shards_of(size, said).items() if exact} if key == "vocab_size" else {}
        voted = vote([full])
        if voted.number is None:
            saw = f"{key} {said:,}, and {name} is {list(embedding.shape)}"
            yield found("config-shape", folder.where(CONFIG), saw, f"{key} {size:,}")
        elif alone:
            saw = f"{name} has {rows:,} of {said:,} rows: one FSDP shard of {voted.text} was saved as if it were whole"
            yield found("fsdp-shard", folder.here, saw, f"{key} {said:,} of {CONFIG}")


def _ties(folder: Folder, config: Json, tensors: Mapping[str, Tensor]) -> Iterator[Finding]:
    """Yield tie flags that contradict each other, or the presence of an output head."""
    where = folder.where(CONFIG)
    flags = [flag for flag in (config.get(TIE), table(config, "text_config").get(TIE)) if isinstance(flag, bool)]
    if len(set(flags)) == 2:
        yield found("tie-flags-differ", where, f"{TIE}: {flags[0]} at the top, {flags[1]} in text_config", "one value")
        return
    embedding, heads = _embedding(tensors), [name for name in tensors if name.endswith("lm_head.weight")]
    if not flags or embedding is None or not writes_text(config):
        return
    if not flags[0] and not any(word in name for name in tensors for word in ("lm_head", "proj_out", "embed_out")):
        yield found("head-missing", where, f"{TIE}: false, and no lm_head.weight", "an output head, or tied embeddings")
    for name in heads if flags[0] else ():
        head = tensors[name]
        seen = read_values([embedding, head]) if head.num_bytes == embedding.num_bytes else {}
        if len({values.sha256 for values in seen.values()}) != 1:
            saw = f"{TIE}: true, and {name} differs from {clean(embedding.name)}"
            yield found("head-ignored", where, saw, "no head of its own, or false")


def _dtype(folder: Folder, config: Json, weights: Weights) -> Iterator[Finding]:
    said = text(config, "dtype") or text(config, "torch_dtype")
    want = _DTYPES.get((said or "").removeprefix("torch."))
    most = next(iter(weights.dtypes()), None)
    if want is not None and most in _DTYPES.values() and most != want:
        yield found("dtype-differs", folder.where(CONFIG), f"{said}, and most weights are {most}", f"what {most} is")


def sees(config: Json) -> bool:
    return any(table(config, key) for key in ("vision_config", "audio_config"))


def has_template(folder: Folder) -> bool:
    inline = (read_json(folder, name).value.get("chat_template") for name in ("tokenizer_config.json", *PROCESSORS))
    return any(name in folder.files for name in TEMPLATES) or any(inline) or "chat_templates" in folder.folders


def _companions(folder: Folder, config: Json) -> Iterator[Finding]:
    """Yield files without which an engine cannot serve the model."""
    if not folder.files.intersection(TOKENIZERS):
        yield found("tokenizer-missing", folder.here, "no tokenizer file", "tokenizer.json or its like")
    if sees(config) and not folder.files.intersection(PROCESSORS):
        yield found("processor-missing", folder.here, "no processor file", " or ".join(PROCESSORS))
    if sees(config) and folder.files.intersection(TOKENIZERS) and not has_template(folder):
        yield found("chat-template-missing", folder.here, "no chat template", TEMPLATES[0])
