"""Folders of compressed-tensors: every quantised layer has its scales, of the right shape; what was to be left is left.

The format: `quantization_config` of config.json, and beside each weight its scale, zero point and, packed, its shape.
Source: compressed-tensors 0.19.0, quantization/lifecycle/initialize.py and compressors/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tao_runtime.audit.codes import found, some
from tao_runtime.audit.folder import Folder, Json, number, shorten, table, text, texts
from tao_runtime.audit.header import Tensor
from tao_runtime.audit.values import Values
from tao_runtime.errors import Finding

METHOD: Final = "compressed-tensors"
SIGHT: Final = ("visual", "vision_tower", "vision_model")
_NARROW: Final = ("I8", "U8", "F8_E4M3", "F8_E5M2", "I32")
_FLOATS: Final = ("F32", "F16", "BF16")
_WORD: Final = {"I32": 32, "U8": 8}  # bits that packed weights come in
# Patterns come from the file, and a regular expression can take forever: only plain ones are used.
_PLAIN: Final = re.compile(r"[\w\\.*+^$-]{1,200}")
MAX_REPEATS: Final = 4


@dataclass(frozen=True, slots=True)
class Layer:
    """The tensors of one module, by the last word of their names."""

    name: str
    parts: Mapping[str, Tensor]

    @property
    def is_quantised(self) -> bool:
        weight = self.parts.get("weight")
        return "weight_packed" in self.parts or (weight is not None and weight.dtype in _NARROW)


def is_compressed(config: Json) -> bool:
    return text(table(config, "quantization_config"), "quant_method") == METHOD


def check_quantised(folder: Folder, config: Json, tensors: Mapping[str, Tensor]) -> Iterator[Finding]:
    """Yield what is wrong with a folder whose configuration says that it is quantised."""
    settings = table(config, "quantization_config")
    groups = [group for group in table(settings, "config_groups").values() if isinstance(group, dict)]
    where = folder.where("config.json")
    if not groups or any(number(table(group, "weights"), "num_bits") is None for group in groups):
        yield found("quant-config", where, "no config_groups with weights and num_bits", "how the weights are stored")
        return
    layers = _layers(tensors)
    quantised = [layer for layer in layers if layer.is_quantised]
    if not quantised:
        yield found("quant-config", where, "quantised by its configuration, and no weight is", "quantised weights")
        return
    ignored = [pattern for pattern in texts(settings.get("ignore")) if pattern]
    for layer in quantised:
        group = _group_of(layer.name, groups)
        if group is not None:
            yield from _check_layer(folder, layer, group)
    yield from _check_left(folder, layers, ignored)
    if table(settings, "kv_cache_scheme"):
        yield from _check_cache(folder, layers)


def _layers(tensors: Mapping[str, Tensor]) -> list[Layer]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        parts.setdefault(module, {})[last] = tensor
    return [Layer(name, each) for name, each in sorted(parts.items())]


def matches(name: str, pattern: str) -> bool:
    """Tell whether a target or ignore entry means a module: its name, its last words, or `re:` and a plain pattern."""
    if not pattern.startswith("re:"):
        return name == pattern or name.endswith(f".{pattern}")
    body = pattern.removeprefix("re:")
    plain = _PLAIN.fullmatch(body) and sum(body.count(sign) for sign in "*+") <= MAX_REPEATS
    return bool(plain) and "**" not in body and "++" not in body and re.match(body, name) is not None


def _group_of(name: str, groups: Sequence[Json]) -> Json | None:
    """Return the group of a layer: the one that names it, or the one of all linear layers."""
    named = [group for group in groups if any(matches(name, target) for target in texts(group.get("targets")))]
    every = [group for group in groups if "Linear" in texts(group.get("targets"))]
    return next(iter([*named, *every]), None)


def _check_layer(folder: Folder, layer: Layer, group: Json) -> Iterator[Finding]:
    """Yield scales of a layer that are missing, or do not fit its weight."""
    weights, inputs, parts = table(group, "weights"), table(group, "input_activations"), layer.parts
    fourbit = (number(weights, "num_bits"), text(weights, "type")) == (4, "float")
    wanted = ["weight_scale"]
    wanted += ["weight_zero_point"] if weights.get("symmetric") is False else []
    wanted += ["weight_global_scale"] if fourbit and text(weights, "strategy") == "tensor_group" else []
    if inputs and inputs.get("dynamic") is False:
        wanted.append("input_scale")
    elif inputs.get("dynamic") == "local":
        wanted.append("input_global_scale")
    lost = [name for name in wanted if name not in parts]
    if lost:
        yield found("quant-scale-missing", folder.here, f"without {some(lost)}", "every scale of a quantised weight",
                    pointer=shorten(layer.name))  # fmt: skip
    shape, scale = _weight_shape(parts, weights), parts.get("weight_scale")
    if shape is None or scale is None:
        return
    want = _scale_shape(shape, weights)
    if want is not None and scale.shape not in want:
        saw = f"weight_scale {list(scale.shape)} for a weight of {list(shape)}"
        yield found("quant-shape", folder.here, saw, f"{list(want[0])}", pointer=shorten(layer.name))
    zero = parts.get("weight_zero_point")
    if zero is not None and zero.dtype != "I32" and zero.shape != scale.shape:
        saw = f"weight_zero_point {list(zero.shape)}, weight_scale {list(scale.shape)}"
        yield found("quant-shape", folder.here, saw, "the same shape", pointer=shorten(layer.name))


def _weight_shape(parts: Mapping[str, Tensor], weights: Json) -> tuple[int, int] | None:
    """Return [out, in] of a weight; of a packed one as many inputs as its words hold."""
    packed, weight, bits = parts.get("weight_packed"), parts.get("weight"), number(weights, "num_bits")
    if packed is not None and len(packed.shape) == 2 and packed.dtype in _WORD and bits:
        return packed.shape[0], packed.shape[1] * (_WORD[packed.dtype] // bits)
    if weight is not None and len(weight.shape) == 2:
        return weight.shape[0], weight.shape[1]
    return None


def _scale_shape(shape: tuple[int, int], weights: Json) -> list[tuple[int, ...]] | None:
    """Return the shapes that scales may have; the first is how it is usually written."""
    strategy, group = text(weights, "strategy"), number(weights, "group_size")
    rows, columns = shape
    if strategy == "tensor":
        return [(1,), (), (1, 1)]
    if strategy == "channel":
        return [(rows, 1), (rows,)]
    if strategy in ("group", "tensor_group") and group and group > 0:
        return [(rows, -(-columns // group))]
    block = weights.get("block_structure")
    if strategy == "block" and isinstance(block, list) and len(block) == 2 and all(type(n) is int and n for n in block):
        return [(-(-rows // block[0]), -(-columns // block[1]))]
    return None


def _check_left(folder: Folder, layers: list[Layer], ignored: list[str]) -> Iterator[Finding]:
    """Yield layers that were to be left alone and are quantised, and the other way round."""
    quantised = [layer for layer in layers if layer.is_quantised]
    skipped = {layer.name for layer in layers if any(matches(layer.name, pattern) for pattern in ignored)}
    wrong = [shorten(layer.name) for layer in quantised if layer.name in skipped]
    if wrong:
        saw = f"{len(wrong)} layers are quantised, and ignore names them: {some(wrong)}"
        yield found("quant-ignored", folder.here, saw, "layers that are left as they were")
    seen = [shorten(layer.name) for layer in quantised if set(layer.name.split(".")) & set(SIGHT)]
    if seen:
        saw = f"{len(seen)} layers of the vision tower are quantised: {some(seen)}"
        yield found("quant-vision", folder.here, saw, "a vision tower in its own type")
    kinds = {_kind(layer.name) for layer in quantised}
    missed = [
        shorten(layer.name)
        for layer in layers
        if _kind(layer.name) in kinds and not layer.is_quantised and layer.name not in skipped
        if (weight := layer.parts.get("weight")) is not None and weight.dtype in _FLOATS
    ]
    if missed:
        saw = f"{len(missed)} layers are not quantised, and their like are: {some(missed)}"
        yield found("quant-missed", folder.here, saw, "quantised, or named by ignore")


def _kind(name: str) -> str:
    """Return a layer's name without its numbers: what is the same in every block."""
    return ".".join(word for word in name.split(".") if not word.isdecimal())


def _check_cache(folder: Folder, layers: list[Layer]) -> Iterator[Finding]:
    """Yield attentions without the scales of their keys and values, where the configuration promises them."""
    scaled = {layer.name for layer in layers if {"k_scale", "v_scale"} <= layer.parts.keys()}
    attentions = {layer.name.rpartition(".")[0] for layer in layers if layer.name.endswith((".k_proj", ".qkv_proj"))}
    lost = sorted(shorten(name) for name in attentions - scaled)
    if lost:
        saw = f"{len(lost)} of {len(attentions)} attentions have no k_scale and v_scale: {some(lost)}"
        yield found("quant-scale-missing", folder.here, saw, "scales of keys and values, as kv_cache_scheme says")


def check_scales(folder: Folder, seen: Mapping[str, Values]) -> Iterator[Finding]:
    """Yield scales that are zero: whatever they scale is gone."""
    zero = sorted(shorten(name) for name, values in seen.items() if name.endswith("_scale") and values.is_zero)
    if zero:
        yield found(
            "quant-scale-zero", folder.here, f"{len(zero)} scales are all zero: {some(zero)}", "positive scales"
        )
