"""A transformer of two towers, one that reads and one that makes video: its parameters, and what a pack keeps.

Names and shapes are those of diffusers 0.42.1 (`Cosmos3OmniTransformer`), activations those of its operations with the
engine's packed attention. Tests hold both against the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.plan.memory.activations import Activations
from tao_runtime.plan.memory.network import Blocks, Network, whole, with_bias
from tao_runtime.plan.model import Recompute

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
    towers = (
        ("", ("to_q", "to_k", "to_v", "to_out"), ("norm_q", "norm_k")),
        ("_moe_gen", ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"), ("norm_added_q", "norm_added_k")),
    )
    for tower, (q, k, v, out), norms in towers:
        shapes[f"{prefix}self_attn.{q}.weight"] = (attention, width)
        shapes[f"{prefix}self_attn.{k}.weight"] = shapes[f"{prefix}self_attn.{v}.weight"] = (kv, width)
        shapes[f"{prefix}self_attn.{out}.weight"] = (width, attention)
        shapes |= {f"{prefix}self_attn.{name}.weight": (head,) for name in norms}
        shapes[f"{prefix}mlp{tower}.gate_proj.weight"] = (blocks.mlp, width)
        shapes[f"{prefix}mlp{tower}.up_proj.weight"] = (blocks.mlp, width)
        shapes[f"{prefix}mlp{tower}.down_proj.weight"] = (width, blocks.mlp)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"{prefix}{norm}{tower}.weight"] = (width,)
    return shapes


def layer_bytes(blocks: Blocks, mode: Recompute, compute: int) -> int:
    """Return what one layer keeps of one token.

    Worked example, width 4,096, 8 of 32 heads for keys, in bfloat16, none: 2 x 10 x 4,096 + 8 x 5,120 +
    4 x (4,096 + 1,024) + 8 x 12,288 = 241,664.
    """
    h, q, k, m, c = blocks.width, blocks.attention, blocks.kv, blocks.mlp, compute
    if mode == "full":
        return c * h
    if mode == "selective":
        return c * (h + q + 2 * k + q + h + 2 * m + h)
    norms, heads = 2 * h * (4 + 3 * c), (q + k) * (4 + 2 * c)
    return norms + heads + 2 * c * (q + k) + 4 * c * m


def pack_activations(
    network: TwoTowerNetwork, load: PackLoad, *, mode: Recompute, compute: int, cp: int
) -> Activations:
    """Return what the passes over a pack keep. Its ends see the whole video, also where the layers see a part."""
    blocks, c = network.blocks, compute
    h = blocks.width
    part = -(-load.video // cp) + -(-load.text // cp)
    kept = load.video * c * (TIME + 2 * h + network.patch_values)  # noise levels, patches
    kept += part * h * (4 + 2 * c) + load.video * c * h  # the last norms, and what is scored
    kept += load.video * network.patch_values * 4 * LATENT_COPIES
    block = part * c * 2 * blocks.mlp  # the gradients of its widest part
    if mode != "none":  # is computed again
        again = layer_bytes(blocks, "none", c) - (layer_bytes(blocks, mode, c) if mode == "selective" else 0)
        block = max(block, part * again)
    layers = blocks.layers * part * layer_bytes(blocks, mode, c)
    return Activations(kept=kept + layers, block=block, logits=0, last=kept, last_block=block)
