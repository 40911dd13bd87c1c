"""Small outputs of trainers made by hand: safetensors files, models, adapters, pipelines, checkpoints. No torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

HIDDEN, VOCABULARY, LAYERS, RANK = 16, 32, 4, 8
DTYPES = {
    "float32": "F32",
    "float16": "F16",
    "uint16": "BF16",
    "float64": "F64",
    "uint8": "U8",
    "int8": "I8",
}  # bfloat16 as its bits
Tensors = dict[str, np.ndarray]


def header_of(tensors: Tensors) -> dict[str, Any]:
    """Return the header that the format asks for, in the order of the tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, value in tensors.items():
        end = position + value.nbytes
        header[name] = {
            "dtype": DTYPES[value.dtype.name],
            "shape": list(value.shape),
            "data_offsets": [position, end],
        }
        position = end
    return header


def write_safetensors(path: Path, tensors: Tensors, *, header: Any = None) -> Path:
    """Write a file; with `header`, under a header of that content, which may be a lie."""
    raw = json.dumps(header_of(tensors) if header is None else header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + b"".join(value.tobytes() for value in tensors.values()))
    return path


def model_tensors(seed: int = 0, *, head: bool = True) -> Tensors:
    """Return the weights of a tiny model that sees and reads."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"model.language_model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        for name in ("q_proj", "v_proj"):
            shapes[f"model.language_model.layers.{layer}.self_attn.{name}.weight"] = (HIDDEN, HIDDEN)
    for block in range(2):
        shapes[f"model.visual.blocks.{block}.attn.qkv.weight"] = (3 * HIDDEN, HIDDEN)
    shapes["model.visual.merger.weight"] = (HIDDEN, HIDDEN)
    if head:
        shapes["lm_head.weight"] = (VOCABULARY, HIDDEN)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def model_config(*, tied: bool = False) -> dict[str, Any]:
    return {
        "model_type": "tiny_vl",
        "architectures": ["TinyVLForConditionalGeneration"],
        "dtype": "float32",
        "tie_word_embeddings": tied,
        "text_config": {
            "hidden_size": HIDDEN,
            "vocab_size": VOCABULARY,
            "num_hidden_layers": LAYERS,
            "tie_word_embeddings": tied,
        },
        "vision_config": {"depth": 2},
    }


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def make_model(root: Path, tensors: Tensors | None = None, *, shards: int = 1, tied: bool = False) -> Path:
    """Write a whole model folder: weights, configuration, tokenizer, processor, chat template."""
    tensors = model_tensors(head=not tied) if tensors is None else tensors
    names = list(tensors)
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors"
        part = {name: tensors[name] for name in names[number::shards]}
        write_safetensors(root / file, part)
        weight_map.update(dict.fromkeys(part, file))
    if shards > 1:
        total = sum(value.nbytes for value in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(root / "model.safetensors.index.json", index)
    write_json(root / "config.json", model_config(tied=tied))
    for name in ("tokenizer.json", "preprocessor_config.json"):
        write_json(root / name, {})
    (root / "chat_template.jinja").write_text("{{ messages }}")
    return root


def adapter_tensors(base: Mapping[str, np.ndarray] | None = None) -> Tensors:
    """Return a trained adapter of q_proj and v_proj in peft's names."""
    rng = np.random.default_rng(1)
    tensors: Tensors = {}
    for name, value in (base or model_tensors()).items():
        if "_proj." in name:
            module = "base_model.model." + name.removesuffix(".weight")
            out, into = value.shape
            tensors[f"{module}.lora_A.weight"] = rng.standard_normal((RANK, into), np.float32)
            tensors[f"{module}.lora_B.weight"] = rng.standard_normal((out, RANK), np.float32)
    return tensors


def make_adapter(root: Path, tensors: Tensors | None = None, **config: Any) -> Path:
    write_safetensors(root / "adapter_model.safetensors", adapter_tensors() if tensors is None else tensors)
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], **config}
    write_json(root / "adapter_config.json", settings)
    return root


def make_pipeline(root: Path) -> Path:
    """Write a pipeline of a transformer, a text encoder, a tokenizer, a scheduler, and a part left out."""
    weights = {"blocks.0.weight": np.ones((4, 4), np.float32)}
    write_safetensors(root / "transformer/diffusion_pytorch_model.safetensors", weights)
    write_json(root / "transformer/config.json", {"_class_name": "TinyTransformer3DModel"})
    write_safetensors(root / "text_encoder/model.safetensors", {"shared.weight": np.ones((4, 4), np.float32)})
    write_json(root / "text_encoder/config.json", {"model_type": "t5", "architectures": ["T5EncoderModel"]})
    write_json(root / "tokenizer/tokenizer_config.json", {})
    write_json(root / "scheduler/scheduler_config.json", {"_class_name": "TinyScheduler"})
    index = {
        "_class_name": "TinyPipeline",
        "_diffusers_version": "0.42.1",
        "transformer": ["diffusers", "TinyTransformer3DModel"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "scheduler": ["diffusers", "TinyScheduler"],
        "safety_checker": [None, None],
        "force_zeros": True,
    }
    write_json(root / "model_index.json", index)
    return root


def rewrite(root: Path, change: Callable[[Tensors], Tensors | None], *, file: str = "model.safetensors") -> None:
    """Read the tensors of a file, change them, and write them again under a true header."""
    path = root / file
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    kinds = {name: np.dtype(kind) for kind, name in DTYPES.items()}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(raw[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"]).copy()
    write_safetensors(path, change(tensors) or tensors)


def quantised_tensors(group: int = 8) -> Tensors:
    """Return the weights of the tiny model with its projections as 8-bit integers, a scale for each group of a row."""
    tensors: Tensors = {}
    for name, value in model_tensors().items():
        if "_proj." not in name:
            tensors[name] = value
            continue
        groups = value.reshape(HIDDEN, -1, group)
        scale = np.abs(groups).max(-1) / np.float32(127)
        tensors[name] = np.round(groups / scale[..., None]).astype(np.int8).reshape(value.shape)
        tensors[f"{name}_scale"] = scale
    return tensors


def make_quantised(root: Path, tensors: Tensors | None = None, **settings: Any) -> Path:
    """Write a model folder in the compressed-tensors format; `settings` override its quantization_config."""
    make_model(root, quantised_tensors() if tensors is None else tensors)
    weights = {"num_bits": 8, "type": "int", "strategy": "group", "group_size": 8, "symmetric": True}
    said = {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None}},
        "ignore": ["lm_head", "re:.*visual.*"],
        **settings,
    }
    edit_json(root / "config.json", lambda config: config.update(quantization_config=said))
    return root
