"""A diffusion transformer that attends to text: its parameters by name and shape, and what it keeps of a micro-batch.

Names and shapes are those of diffusers 0.42.1 (`CosmosTransformer3DModel`), activations those of its operations as the
engine runs them. Tests hold both against the library: on the meta device, and as every tensor of a step is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from tao_runtime.plan.memory.activations import Activations
from tao_runtime.plan.memory.learning import Learning, gradients_of_widest
from tao_runtime.plan.memory.network import Network, whole
from tao_runtime.plan.model import Recompute

NORM: Final = 4  # bytes of a number of a norm over a head's values: it is computed in float32
BLOCK: Final = "transformer_blocks.*."
TEXT_LINEARS: Final = ("attn2.to_k", "attn2.to_v")  # of a block, that see the text
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
    by_frame: bool = False  # noise levels are a frame's, so shifts are a token's

    def times(self, count: int) -> ClipLoad:
        return replace(self, samples=self.samples * count)


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


def block_bytes(network: TextVideoNetwork, mode: Recompute, compute: int, learning: Learning, *, by_frame: bool) -> int:
    """Return what one block keeps of one token; `by_frame`: as a load says it, `learning`: what of the network does.

    Worked example, width 4,096 in bfloat16, none: 3 norms of 4 B, 2 x 16 + 8 of head norms, 7 + 5 of attention, 3 of
    the MLP beside its 2 x 4 widths: 76 x 4,096 = 311,296.
    """
    h, m, c, own = network.width, network.mlp, compute, learning.of(BLOCK)
    if mode == "full":
        return c * h
    if mode == "selective":
        products = h + 5 * h + 3 * h + m + h + (3 * (3 * h + network.rank) if by_frame else 0)
        of_text = sum(own.of(f"{module}.").results(c) for module in TEXT_LINEARS)
        return c * products + own.results(c) - of_text
    moved = _is_moved(learning)  # gates and scales pass gradients on: what they multiply is kept
    norms = 3 * c * h * (1 + moved)  # input and output of the norm of each part
    heads = 3 * (NORM + c) * h  # queries twice and keys once
    heads += c * own.norms(dict.fromkeys(("attn1.norm_q", "attn1.norm_k", "attn2.norm_q"), h))
    inputs = own.inputs(["attn1.to_q", "attn1.to_k", "attn1.to_v"], h, c) + own.inputs(["attn2.to_q"], h, c)
    inputs += sum(own.inputs([f"{attention}.to_out.0"], h, c, kept=True) for attention in ("attn1", "attn2"))
    attention = c * h * (3 + 1) + c * h * (1 + 1)  # self: qkv, result; then of the text
    mlp = own.inputs(["ff.net.0.proj"], h, c) + c * m + own.inputs(["ff.net.2"], m, c)
    shifts = 3 * c * (5 * h + network.rank if moved else 4 * h) if by_frame else 0
    return norms + heads + inputs + attention + mlp + 3 * c * h * moved + shifts


def _is_moved(learning: Learning) -> bool:
    """Whether what a noise level becomes depends on anything that learns."""
    norms = (f"{BLOCK}norm{number}." for number in (1, 2, 3))
    return any(learning.of(prefix).shapes for prefix in ("time_embed.", "norm_out.", *norms))


def text_bytes(network: TextVideoNetwork, mode: Recompute, compute: int, learning: Learning) -> int:
    """Return what one block keeps of one token of text."""
    h, c, own = network.width, compute, learning.of(BLOCK)
    if mode == "full":
        return 0
    if mode == "selective":
        return 2 * c * h + sum(own.of(f"{module}.").results(c) for module in TEXT_LINEARS)
    keys = NORM + c if own.of("attn2.to_k.").shapes else 0  # nothing before them learns
    copies = own.inputs(TEXT_LINEARS, network.text_width, c, kept=True)
    return h * (keys + 2 * c) + c * own.norms({"attn2.norm_k": h}) + copies


def clip_activations(
    network: TextVideoNetwork, load: ClipLoad, *, mode: Recompute, compute: int, cp: int, learning: Learning
) -> Activations:
    """Return what the passes over a micro-batch keep. Context parallelism deals out a clip's frames, not its text."""
    h, c, by_frame, moved = network.width, compute, load.by_frame, _is_moved(learning)
    tokens, texts = load.samples * -(-load.tokens // cp), load.samples * load.text
    blocks = network.layers * tokens * block_bytes(network, mode, c, learning, by_frame=by_frame)
    blocks += network.layers * texts * text_bytes(network, mode, c, learning)
    kept = texts * network.text_width * c
    first = learning.inputs(["patch_embed.proj"], network.channels * network.patch, c)
    kept += tokens * (first + 2 * 4 * network.head)  # patches; angles
    placed = network.learnt_positions and bool(first or learning.of("learnable_pos_embed.").shapes)
    kept += tokens * (c * h * (1 + moved + 2 * placed) + learning.inputs(["proj_out"], h, c))  # and the last norm
    kept += tokens * c * h * (4 + moved) if by_frame else 0  # what the noise level becomes
    kept += load.samples * LATENT_COPIES * 4 * -(-load.latents // cp)
    widest = tokens * gradients_of_widest(network.mlp, c, learning.of(BLOCK), "ff.net.2")
    block = tokens * c * network.mlp
    if mode != "none":  # is computed again
        again = block_bytes(network, "none", c, learning, by_frame=by_frame)
        again -= block_bytes(network, mode, c, learning, by_frame=by_frame) if mode == "selective" else 0
        block = widest + tokens * again + texts * text_bytes(network, "none", c, learning)
    return Activations(kept=kept + blocks, block=block, logits=0, last=kept, last_block=block)
