"""A transformer of two towers, one that reads and one that makes video: its parameters, and what a pack keeps.

Names and shapes are those of diffusers 0.42.1 (`Cosmos3OmniTransformer`), activations those of its operations with the
engine's packed attention. Tests hold both against the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.plan.memory.activations import Activations
from tao_runtime.plan.memory.learning import Learning, gradients_of_widest
from tao_runtime.plan.memory.network import Blocks, Network, whole, with_bias
from tao_runtime.plan.model import Recompute

LAYER: Final = "layers.*."
TIME: Final = 256  # numbers that a noise level becomes
LATENT_COPIES: Final = 4  # float32 tensors of all clips' shape: clean, noise, noised, target


@dataclass(frozen=True, slots=True)
class TwoTowerNetwork(Network):
    """What the activations depend on, beside the parameters."""

    blocks: Blocks  # of a layer, either tower
    patch_values: int  # numbers of a token of video


@dataclass(frozen=True, slots=True)
class PackLoad:
    """A pack."""

    video: int  # tokens
    text: int

    def times(self, count: int) -> PackLoad:
        return PackLoad(self.video * count, self.text * count)


@dataclass(frozen=True, slots=True)
class Tower:
    """Names of one tower's modules in a layer."""

    attention: tuple[str, str, str, str]  # of queries, keys, values and results
    norms: tuple[str, str]  # of queries and keys
    suffix: str  # of the rest

    @property
    def mlp(self) -> str:
        return f"mlp{self.suffix}."

    @property
    def layer_norms(self) -> tuple[str, str]:
        return f"input_layernorm{self.suffix}", f"post_attention_layernorm{self.suffix}"

    def of(self, learning: Learning) -> Learning:
        """Return what learns in this tower."""
        prefixes = (*(f"{name}." for name in (*self.attention, *self.norms, *self.layer_norms)), self.mlp)
        found = {name: shape for name, shape in learning.shapes.items() if name.startswith(prefixes)}
        return Learning(found, learning.dropped)


READS: Final = Tower(
    ("self_attn.to_q", "self_attn.to_k", "self_attn.to_v", "self_attn.to_out"),
    ("self_attn.norm_q", "self_attn.norm_k"),
    "",
)
MAKES: Final = Tower(
    ("self_attn.add_q_proj", "self_attn.add_k_proj", "self_attn.add_v_proj", "self_attn.to_add_out"),
    ("self_attn.norm_added_q", "self_attn.norm_added_k"),
    "_moe_gen",
)


def two_tower_network(config: Mapping[str, object]) -> TwoTowerNetwork | None:
    """Return the network of a configuration, None if it does not say enough, or says more than is known here."""
    plain = config.get("hidden_act", "silu") == "silu" and config.get("qk_norm_for_text", True)
    if not plain or config.get("action_gen") or config.get("sound_gen") or config.get("attention_bias"):
        return None
    try:
        width, head = whole(config, "hidden_size"), whole(config, "head_dim")
        heads, kv = whole(config, "num_attention_heads"), whole(config, "num_key_value_heads")
        layers, mlp = whole(config, "num_hidden_layers"), whole(config, "intermediate_size")
        vocabulary, patch = whole(config, "vocab_size"), whole(config, "patch_latent_dim")
    except KeyError:
        return None
    blocks = Blocks(layers, width, heads * head, kv * head, mlp)
    shapes: dict[str, tuple[int, ...]] = {"embed_tokens.weight": (vocabulary, width)}
    for layer in range(layers):
        shapes |= _layer(f"layers.{layer}.", blocks, head)
    shapes |= {"norm.weight": (width,), "norm_moe_gen.weight": (width,), "lm_head.weight": (vocabulary, width)}
    shapes |= with_bias("proj_in", (width, patch)) | with_bias("proj_out", (patch, width))
    shapes |= with_bias("time_embedder.linear_1", (width, TIME)) | with_bias("time_embedder.linear_2", (width, width))
    return TwoTowerNetwork(shapes, blocks, patch)


def _layer(prefix: str, blocks: Blocks, head: int) -> dict[str, tuple[int, ...]]:
    width, attention, kv = blocks.width, blocks.attention, blocks.kv
    shapes: dict[str, tuple[int, ...]] = {}
    for tower in (READS, MAKES):
        q, k, v, out = (f"{prefix}{name}.weight" for name in tower.attention)
        shapes |= {q: (attention, width), k: (kv, width), v: (kv, width), out: (width, attention)}
        shapes |= {f"{prefix}{name}.weight": (head,) for name in tower.norms}
        for name, shape in (("gate", (blocks.mlp, width)), ("up", (blocks.mlp, width)), ("down", (width, blocks.mlp))):
            shapes[f"{prefix}{tower.mlp}{name}_proj.weight"] = shape
        shapes |= {f"{prefix}{name}.weight": (width,) for name in tower.layer_norms}
    return shapes


def layer_bytes(blocks: Blocks, mode: Recompute, compute: int, tower: Tower, learning: Learning) -> int:
    """Return what one layer keeps of one token of a tower. `learning`: what of a layer does.

    Worked example, width 4,096, 8 of 32 heads for keys, in bfloat16, none: 2 x 10 x 4,096 + 8 x 5,120 +
    4 x (4,096 + 1,024) + 8 x 12,288 = 241,664.
    """
    h, q, k, m, c = blocks.width, blocks.attention, blocks.kv, blocks.mlp, compute
    own = tower.of(learning)
    if mode == "full":
        return c * h
    if mode == "selective":
        return c * (h + q + 2 * k + q + h + 2 * m + h) + own.results(c)
    *qkv, out = tower.attention
    norms = 2 * h * (4 + c) + c * own.norms(dict.fromkeys(tower.layer_norms, h))
    heads = (q + k) * (4 + c) + c * own.norms(dict(zip(tower.norms, (q, k), strict=True)))
    attention = own.inputs(qkv, h, c) + 2 * c * (q + k) + own.inputs([out], q, c, kept=True)
    gates = (f"{tower.mlp}gate_proj", f"{tower.mlp}up_proj")
    return norms + heads + attention + own.inputs(gates, h, c) + 3 * c * m + own.inputs([f"{tower.mlp}down_proj"], m, c)


def _text_bytes(blocks: Blocks, mode: Recompute, compute: int, learning: Learning) -> int:
    """Return what one layer keeps of one token of text: where nothing that reads learns, what video attends to."""
    reads = bool(READS.of(learning.of(LAYER)).shapes or learning.of("embed_tokens.").shapes)
    if mode == "none" and not reads:
        return 2 * compute * blocks.kv
    return layer_bytes(blocks, mode, compute, READS, learning.of(LAYER))


def pack_activations(
    network: TwoTowerNetwork, load: PackLoad, *, mode: Recompute, compute: int, cp: int, learning: Learning
) -> Activations:
    """Return what the passes over a pack keep. Its ends see the whole video, also where the layers see a part."""
    blocks, c, own = network.blocks, compute, learning.of(LAYER)
    h, video, text = blocks.width, -(-load.video // cp), -(-load.text // cp)

    def of_layer(kind: Recompute) -> int:
        return video * layer_bytes(blocks, kind, c, MAKES, own) + text * _text_bytes(blocks, kind, c, learning)

    starts = learning.inputs(["time_embedder.linear_1"], TIME, c)
    starts += learning.inputs(["proj_in"], network.patch_values, c)
    starts += 2 * c * h * any(learning.of(name).shapes for name in ("time_embedder.", "proj_in."))
    kept = load.video * (starts + learning.inputs(["proj_out"], h, c))  # noise levels, patches, and what is scored
    kept += (video + text) * h * (4 + c)  # the last norms
    kept += c * (video * learning.norms({"norm_moe_gen": h}) + text * learning.norms({"norm": h}))
    kept += load.video * network.patch_values * 4 * LATENT_COPIES
    layers = blocks.layers * of_layer(mode)
    block = (video + text) * c * 2 * blocks.mlp  # the gradients of its widest part
    if mode != "none":  # is computed again
        block = (video + text) * gradients_of_widest(blocks.mlp, c, own, f"{MAKES.mlp}down_proj")
        block += of_layer("none") - (of_layer(mode) if mode == "selective" else 0)
    return Activations(kept=kept + layers, block=block, logits=0, last=kept, last_block=block)
