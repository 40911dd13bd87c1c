"""Every parameter of a network by its name and shape, from its configuration alone; here: vision-language networks.

Names and shapes are those of transformers 5.23.0 (`Qwen3VLForConditionalGeneration`); a test holds the two against
each other on the meta device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

Shapes = Mapping[str, tuple[int, ...]]
EMBEDDING: Final = "model.language_model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class Blocks:
    """The numbers of a stack of blocks that its activations depend on."""

    layers: int
    width: int
    attention: int  # heads x head dimension
    kv: int  # key-value heads x head dimension
    mlp: int


@dataclass(frozen=True, slots=True)
class Network:
    """What a network is made of."""

    shapes: Shapes  # of every parameter, tied ones once

    @property
    def logit_weight(self) -> str:
        """The weight that makes logits of hidden states; empty: the loss has none."""
        return ""

    def count(self, prefix: str = "") -> int:
        """Return the parameters whose names start so."""
        return sum(math.prod(shape) for name, shape in self.shapes.items() if name.startswith(prefix))

    def linears(self) -> Iterator[tuple[str, int, int]]:
        """Yield (module, outputs, inputs) of every linear layer: a weight of two dimensions that is no embedding."""
        for name, shape in self.shapes.items():
            module, _, leaf = name.rpartition(".")
            if leaf == "weight" and len(shape) == 2 and not module.endswith(("embed_tokens", "pos_embed")):
                yield module, shape[0], shape[1]


@dataclass(frozen=True, slots=True)
class VisionLanguageNetwork(Network):
    """A language model with a tower that sees."""

    language: Blocks
    vision: Blocks
    vocabulary: int
    merge: int  # patches that make one token
    patch_values: int  # numbers of one patch
    deepstack: int  # vision layers whose features also enter the language model

    @property
    def logit_weight(self) -> str:
        return "lm_head.weight" if "lm_head.weight" in self.shapes else EMBEDDING


def vision_language_network(config: Mapping[str, object]) -> VisionLanguageNetwork | None:
    """Return the network of a configuration, None if it does not say enough."""
    text, vision = _table(config, "text_config"), _table(config, "vision_config")
    try:
        language, tower = _language(text), _tower(vision)
        merge = whole(vision, "spatial_merge_size") ** 2
        taps = vision.get("deepstack_visual_indexes")
        deepstack = len(taps) if isinstance(taps, list) else 0
        side = whole(vision, "patch_size")
        patch_shape = (whole(vision, "in_channels", 3), whole(vision, "temporal_patch_size"), side, side)
        out, positions = whole(vision, "out_hidden_size"), whole(vision, "num_position_embeddings")
        vocabulary = whole(text, "vocab_size")
    except KeyError:
        return None
    shapes: dict[str, tuple[int, ...]] = {
        "model.visual.patch_embed.proj.weight": (tower.width, *patch_shape),
        "model.visual.patch_embed.proj.bias": (tower.width,),
        "model.visual.pos_embed.weight": (positions, tower.width),
    }
    for layer in range(tower.layers):
        shapes |= _vision_block(f"model.visual.blocks.{layer}.", tower)
    shapes |= _merger("model.visual.merger.", tower.width * merge, out, norm=tower.width)
    for number in range(deepstack):
        prefix = f"model.visual.deepstack_merger_list.{number}."
        shapes |= _merger(prefix, tower.width * merge, out, norm=tower.width * merge)
    shapes[EMBEDDING] = (vocabulary, language.width)
    for layer in range(language.layers):
        prefix, bias = f"model.language_model.layers.{layer}.", bool(text.get("attention_bias", False))
        shapes |= _decoder_layer(prefix, language, _head_dim(text), bias=bias)
    shapes["model.language_model.norm.weight"] = (language.width,)
    if not (config.get("tie_word_embeddings") or text.get("tie_word_embeddings")):
        shapes["lm_head.weight"] = (vocabulary, language.width)
    return VisionLanguageNetwork(shapes, language, tower, vocabulary, merge, math.prod(patch_shape), deepstack)


def _language(text: Mapping[str, object]) -> Blocks:
    heads = whole(text, "num_attention_heads")
    kv = whole(text, "num_key_value_heads", heads)
    dim, width = _head_dim(text), whole(text, "hidden_size")
    return Blocks(whole(text, "num_hidden_layers"), width, heads * dim, kv * dim, whole(text, "intermediate_size"))


def _head_dim(text: Mapping[str, object]) -> int:
    return whole(text, "head_dim", whole(text, "hidden_size") // whole(text, "num_attention_heads"))


def _tower(vision: Mapping[str, object]) -> Blocks:
    width = whole(vision, "hidden_size")
    return Blocks(whole(vision, "depth"), width, width, width, whole(vision, "intermediate_size"))


def _vision_block(prefix: str, blocks: Blocks) -> dict[str, tuple[int, ...]]:
    width, mlp = blocks.width, blocks.mlp
    return {
        **with_bias(f"{prefix}norm1", (width,)),
        **with_bias(f"{prefix}norm2", (width,)),
        **with_bias(f"{prefix}attn.qkv", (3 * width, width)),
        **with_bias(f"{prefix}attn.proj", (width, width)),
        **with_bias(f"{prefix}mlp.linear_fc1", (mlp, width)),
        **with_bias(f"{prefix}mlp.linear_fc2", (width, mlp)),
    }


def _merger(prefix: str, merged: int, out: int, *, norm: int) -> dict[str, tuple[int, ...]]:
    return {
        **with_bias(f"{prefix}norm", (norm,)),
        **with_bias(f"{prefix}linear_fc1", (merged, merged)),
        **with_bias(f"{prefix}linear_fc2", (out, merged)),
    }


def _decoder_layer(prefix: str, blocks: Blocks, head_dim: int, *, bias: bool) -> dict[str, tuple[int, ...]]:
    width, attention, kv, mlp = blocks.width, blocks.attention, blocks.kv, blocks.mlp
    projections = {"q_proj": (attention, width), "k_proj": (kv, width), "v_proj": (kv, width)}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in {**projections, "o_proj": (width, attention)}.items():
        shapes[f"{prefix}self_attn.{name}.weight"] = shape
        if bias:
            shapes[f"{prefix}self_attn.{name}.bias"] = shape[:1]
    return shapes | {
        f"{prefix}self_attn.q_norm.weight": (head_dim,),
        f"{prefix}self_attn.k_norm.weight": (head_dim,),
        f"{prefix}mlp.gate_proj.weight": (mlp, width),
        f"{prefix}mlp.up_proj.weight": (mlp, width),
        f"{prefix}mlp.down_proj.weight": (width, mlp),
        f"{prefix}input_layernorm.weight": (width,),
        f"{prefix}post_attention_layernorm.weight": (width,),
    }


def with_bias(module: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{module}.weight": shape, f"{module}.bias": shape[:1]}


def _table(config: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = config.get(name)
    return value if isinstance(value, Mapping) else {}


def whole(table: Mapping[str, object], name: str, default: int | None = None) -> int:
    """Return a whole number of a table. Raises KeyError where it has none and there is no default."""
    value = table.get(name)
    if type(value) is int:
        return value
    if default is None:
        raise KeyError(name)
    return default
