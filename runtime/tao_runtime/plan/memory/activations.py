"""What the forward and backward passes of one micro-batch keep: bytes from tokens, patches and the recomputation mode.

Counted from the operations of transformers 5.23.0 as the engine runs them (norms in float32, packed attention, logits
in chunks). Held against what torch's tracker sees of the engine's own loss (tests/plan/memory/test_activations.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tao_runtime.plan.memory.learning import Learning, gradients_of_widest
from tao_runtime.plan.memory.network import Blocks, VisionLanguageNetwork
from tao_runtime.plan.model import Recompute

CHUNK_NUMBERS: Final = 1 << 26  # logits of one chunk, as the engine cuts them
LOGIT_BYTES: Final = (8, 12, 16)  # of one logit, low, expected and high: float32 copy, log-softmax, gradient
SEEING: Final = "model.visual."


@dataclass(frozen=True, slots=True)
class Load:
    """A micro-batch: what its activations depend on."""

    tokens: int  # of all samples, text and vision
    visual: int  # of them, visual tokens
    supervised: int

    def times(self, count: int) -> Load:
        return Load(self.tokens * count, self.visual * count, self.supervised * count)


@dataclass(frozen=True, slots=True)
class Activations:
    """Bytes of one rank."""

    kept: int  # from forward until its backward
    block: int  # of one block, while it is computed again or run
    logits: int  # of one chunk
    last: int  # of what is kept, what is still there when the blocks that go back last begin
    last_block: int  # of one of them
    chunked: bool = False  # logits of several chunks, each with its own gradient of what makes them

    @property
    def peak(self) -> int:
        return self.kept + max(self.block, self.logits)


def decoder_layer_bytes(blocks: Blocks, mode: Recompute, compute: int, learning: Learning) -> int:
    """Return what one decoder layer keeps of one token; `compute`: bytes of a number, `learning`: what of a layer does.

    Worked example, 8B in bfloat16, none: 18 x 4,096 + 6 x 5,120 + 2 x 6,144 + 2 x 4,096 + 8 x 12,288 = 223,232.
    """
    h, q, k, f, c = blocks.width, blocks.attention, blocks.kv, blocks.mlp, compute
    if mode == "full":
        return c * h
    if mode == "selective":
        return c * (3 * h + 2 * q + 2 * k + 2 * f) + learning.results(c)
    norms = h * (c + 2 * 4) + c * learning.norms({"input_layernorm": h, "post_attention_layernorm": h})
    heads = (q + k) * 4 + c * learning.norms({"self_attn.q_norm": q, "self_attn.k_norm": k})
    attention = learning.inputs([f"self_attn.{each}_proj" for each in "qkv"], h, c) + c * (q + 2 * k)
    attention += c * q + learning.inputs(["self_attn.o_proj"], q, c, kept=True)
    mlp = learning.inputs(["mlp.gate_proj", "mlp.up_proj"], h, c) + 3 * c * f
    return norms + heads + attention + mlp + learning.inputs(["mlp.down_proj"], f, c)


def vision_block_bytes(blocks: Blocks, mode: Recompute, compute: int, learning: Learning) -> int:
    """Return what one vision block keeps of one patch."""
    w, m, c = blocks.width, blocks.mlp, compute
    if mode == "full":
        return c * w
    if mode == "selective":
        return c * (7 * w + m) + learning.results(c)
    attention = learning.inputs(["attn.qkv"], w, c) + 4 * c * w + learning.inputs(["attn.proj"], w, c, kept=True)
    mlp = learning.inputs(["mlp.linear_fc1"], w, c) + c * m + learning.inputs(["mlp.linear_fc2"], m, c)
    return 2 * c * w + attention + mlp  # of norms, what they take


def activations(
    network: VisionLanguageNetwork, load: Load, *, mode: Recompute, compute: int, cp: int, learning: Learning
) -> tuple[Activations, Activations, Activations]:
    """Return low, expected and high activations of a micro-batch. A tower in which nothing learns keeps nothing."""
    language, vision, c = network.language, network.vision, compute
    tokens, patches = -(-load.tokens // cp), load.visual * network.merge
    layer, tower = learning.of("model.language_model.layers.*."), learning.of("model.visual.blocks.*.")
    sees = learning.of(SEEING).beside("merger.", "deepstack_merger_list.")
    seen = patches * network.patch_values  # as bytes, and in the type of the tower
    seen += patches * learning.of(SEEING).inputs(["patch_embed.proj"], network.patch_values, c)
    if sees:
        seen += vision.layers * patches * vision_block_bytes(vision, mode, c, tower) + patches * vision.width * c
    if learning.of(SEEING).shapes:
        seen += load.visual * _merger_bytes(network, c, learning, sees=sees)
    kept = seen + load.supervised * language.width * c
    if learning.beside("lm_head."):
        kept += language.layers * tokens * decoder_layer_bytes(language, mode, c, layer)
        kept += tokens * (language.width * 4 + c * learning.norms({"model.language_model.norm": language.width}))
    block, last = decoder_layer_bytes(language, "none", c, layer), vision_block_bytes(vision, "none", c, tower)
    if mode == "selective":  # the rest is there
        block -= decoder_layer_bytes(language, mode, c, layer)
        last -= vision_block_bytes(vision, mode, c, tower)
    block = tokens * (max(block, 0) + gradients_of_widest(language.mlp, c, layer, "mlp.down_proj"))
    last = patches * (max(last, 0) + gradients_of_widest(vision.mlp, c, tower, "mlp.linear_fc2"))
    if mode == "none":  # is kept in any case; what is left is the gradient of its widest part
        block, last = tokens * c * 2 * language.mlp, patches * c * 2 * vision.mlp
    most, last = max(block, last), last if sees else block
    rows = min(load.supervised, max(1, CHUNK_NUMBERS // network.vocabulary))
    chunked, logits = rows < load.supervised, rows * network.vocabulary
    return tuple(Activations(kept, most, logits * each, seen, last, chunked) for each in LOGIT_BYTES)  # type: ignore[return-value]


def _merger_bytes(network: VisionLanguageNetwork, compute: int, learning: Learning, *, sees: bool) -> int:
    """Return what the mergers keep of one visual token; also what they take, unless the tower keeps it."""
    found, merged = 0, network.vision.width * network.merge
    for name, count in (("merger.", 1), ("deepstack_merger_list.*.", network.deepstack)):
        own = learning.of(SEEING + name)
        linears = own.inputs(["linear_fc1"], merged, compute) + own.inputs(["linear_fc2"], merged, compute)
        found += count * (linears + compute * (merged * (1 if sees else 2) + network.language.width))
    return found
