"""A diffusion transformer that attends to text: its parameters by name and shape, and what it keeps of a micro-batch.

Names and shapes are those of diffusers 0.42.1 (`CosmosTransformer3DModel`), activations those of its operations as the
engine runs them. Tests hold both against the library: on the meta device, and as every tensor of a step is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.plan.memory.activations import Activations
from tao_runtime.plan.memory.network import Network, whole
from tao_runtime.plan.model import Recompute

NORM: Final = 4  # bytes of a number of a norm over a head's values: it is computed in float32
LATENT_COPIES: Final = 6  # float32 tensors of a clip's shape: clean, noised, noise, target, answer, error


@dataclass(frozen=True, slots=True)
class TextVideoNetwork(Network):
    """What the activations depend on, beside the parameters."""

    layers: int
    width: int
    head: int  # values of one head
    mlp: int
    text_width: int
    rank: int  # of the layers that make shift, scale and gate from the noise level
    channels: int  # that the first layer takes, masks included
    patch: int  # latent pixels of a token
    learnt_positions: bool


@dataclass(frozen=True, slots=True)
class ClipLoad:
    """A micro-batch of clips of one size."""

    samples: int
    tokens: int  # of one clip
    latents: int  # numbers of one clip
    text: int  # tokens of one text, padding included

    def times(self, count: int) -> ClipLoad:
        return ClipLoad(self.samples * count, self.tokens, self.latents, self.text)


def text_video_network(config: Mapping[str, object]) -> TextVideoNetwork | None:
    """Return the network of a configuration, None if it does not say enough, or says more than is known here."""
    ratio, limits, patches = config.get("mlp_ratio", 4.0), config.get("max_size"), config.get("patch_size")
    known = not any(config.get(key) for key in ("use_crossattn_projection", "img_context_dim_in"))
    if not known or not isinstance(ratio, int | float) or not _three(limits) or not _three(patches):
        return None
    try:
        width = whole(config, "num_attention_heads") * whole(config, "attention_head_dim")
        head = whole(config, "attention_head_dim")
        layers, text = whole(config, "num_layers"), whole(config, "text_embed_dim")
        rank, out = whole(config, "adaln_lora_dim"), whole(config, "out_channels")
        channels = whole(config, "in_channels") + bool(config.get("concat_padding_mask", True))
    except KeyError:
        return None
    patch = patches[0] * patches[1] * patches[2]  # type: ignore[index]
    learnt = config.get("extra_pos_embed_type") == "learnable"
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (width, channels * patch)}
    if learnt:
        for axis, most, step in zip("thw", limits, patches, strict=True):  # type: ignore[call-overload]
            shapes[f"learnable_pos_embed.pos_emb_{axis}"] = (most // step, width)
    shapes |= {
        "time_embed.t_embedder.linear_1.weight": (width, width),
        "time_embed.t_embedder.linear_2.weight": (3 * width, width),
        "time_embed.norm.weight": (width,),
    }
    mlp = int(width * ratio)
    for layer in range(layers):
        shapes |= _block(f"transformer_blocks.{layer}.", (width, text, mlp, rank), head)
    shapes |= {
        "norm_out.linear_1.weight": (rank, width),
        "norm_out.linear_2.weight": (2 * width, rank),
        "proj_out.weight": (patch * out, width),
    }
    return TextVideoNetwork(shapes, layers, width, head, mlp, text, rank, channels, patch, learnt)


def _three(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(type(each) is int for each in value)


def _block(prefix: str, sizes: tuple[int, int, int, int], head: int) -> dict[str, tuple[int, ...]]:
    width, text, mlp, rank = sizes
    shapes: dict[str, tuple[int, ...]] = {}
    for number in (1, 2, 3):
        shapes[f"{prefix}norm{number}.linear_1.weight"] = (rank, width)
        shapes[f"{prefix}norm{number}.linear_2.weight"] = (3 * width, rank)
    for name, seen in (("attn1", width), ("attn2", text)):
        shapes[f"{prefix}{name}.norm_q.weight"] = shapes[f"{prefix}{name}.norm_k.weight"] = (head,)
        shapes[f"{prefix}{name}.to_q.weight"] = shapes[f"{prefix}{name}.to_out.0.weight"] = (width, width)
        shapes[f"{prefix}{name}.to_k.weight"] = shapes[f"{prefix}{name}.to_v.weight"] = (width, seen)
    shapes[f"{prefix}ff.net.0.proj.weight"], shapes[f"{prefix}ff.net.2.weight"] = (mlp, width), (width, mlp)
    return shapes


def block_bytes(network: TextVideoNetwork, mode: Recompute, compute: int, *, by_frame: bool) -> int:
    """Return what one block keeps of one token; `by_frame`: noise levels are a frame's, so shifts are a token's.

    Worked example, width 4,096 in bfloat16, none: 3 norms of 4 B, 2 x 16 + 8 of head norms, 7 + 5 of attention, 3 of
    the MLP beside its 2 x 4 widths: 76 x 4,096 = 311,296.
    """
    h, m, c = network.width, network.mlp, compute
    if mode == "full":
        return c * h
    if mode == "selective":
        products = h + 5 * h + 3 * h + m + h + (3 * (3 * h + network.rank) if by_frame else 0)
        return c * products
    norms = 3 * 2 * c * h  # input and output of the norm of each part
    heads = 3 * (NORM + 2 * c) * h  # queries twice and keys once
    attention = c * h * (1 + 3 + 1 + 1) + c * h * (1 + 1 + 1 + 1)  # self: x, qkv, result, gated; then of the text
    mlp = c * h + 2 * c * m + c * h
    shifts = 3 * c * (5 * h + network.rank) if by_frame else 0
    return norms + heads + attention + mlp + shifts


def text_bytes(network: TextVideoNetwork, mode: Recompute, compute: int) -> int:
    """Return what one block keeps of one token of text."""
    kept = {"none": NORM + 4 * compute, "selective": 2 * compute, "full": 0}[mode]
    return network.width * kept


def clip_activations(
    network: TextVideoNetwork, load: ClipLoad, *, mode: Recompute, compute: int, cp: int, by_frame: bool
) -> Activations:
    """Return what the passes over a micro-batch keep. Context parallelism deals out a clip's frames, not its text."""
    h, c = network.width, compute
    tokens, texts = load.samples * -(-load.tokens // cp), load.samples * load.text
    blocks = network.layers * tokens * block_bytes(network, mode, c, by_frame=by_frame)
    blocks += network.layers * texts * text_bytes(network, mode, c)
    kept = texts * network.text_width * c
    kept += tokens * (c * network.channels * network.patch + 2 * 4 * network.head)  # patches; angles
    kept += tokens * c * h * (3 + 2 * network.learnt_positions)  # and the last norm
    kept += tokens * c * h * (4 + 1) if by_frame else 0  # what the noise level becomes
    kept += load.samples * LATENT_COPIES * 4 * -(-load.latents // cp)
    block = tokens * c * network.mlp  # the gradient of its widest part
    if mode != "none":  # is computed again
        again = block_bytes(network, "none", c, by_frame=by_frame)
        again -= block_bytes(network, mode, c, by_frame=by_frame) if mode == "selective" else 0
        block = max(block, tokens * again + texts * text_bytes(network, "none", c))
    return Activations(kept=kept + blocks, block=block, logits=0, last=kept, last_block=block)
