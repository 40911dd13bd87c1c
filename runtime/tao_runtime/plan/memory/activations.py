"""What the forward and backward passes of one micro-batch keep: bytes from tokens, patches and the recomputation mode.

Counted from the operations of transformers 5.23.0 as the engine runs them (norms in float32, packed attention, logits
in chunks). Held against what torch's tracker sees of the engine's own loss (tests/plan/memory/test_activations.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tao_runtime.plan.memory.network import Blocks, VisionLanguageNetwork
from tao_runtime.plan.model import Recompute

CHUNK_NUMBERS: Final = 1 << 26  # logits of one chunk, as the engine cuts them
LOGIT_BYTES: Final = (8, 12, 16)  # of one logit, low, expected and high: float32 copy, log-softmax, gradient
MERGER_KEPT: Final = 3  # tensors as wide as a merged patch that a merger keeps


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


def decoder_layer_bytes(blocks: Blocks, mode: Recompute, compute: int) -> int:
    """Return what one decoder layer keeps of one token; `compute`: bytes of a number.

    Worked example, 8B in bfloat16, none: 18 x 4,096 + 6 x 5,120 + 2 x 6,144 + 2 x 4,096 + 8 x 12,288 = 223,232.
    """
    h, q, k, f, c = blocks.width, blocks.attention, blocks.kv, blocks.mlp, compute
    if mode == "full":
        return c * h
    if mode == "selective":
        return c * (3 * h + 2 * q + 2 * k + 2 * f)
    norms, heads = h * (c + 2 * (4 + 2 * c)), (q + k) * (4 + c)
    return norms + heads + c * (q + 2 * k) + c * q + 4 * c * f


def vision_block_bytes(blocks: Blocks, mode: Recompute, compute: int) -> int:
    """Return what one vision block keeps of one patch."""
    w, m, c = blocks.width, blocks.mlp, compute
    if mode == "full":
        return c * w
    return c * (7 * w + m) if mode == "selective" else c * (8 * w + 2 * m)


def activations(
    network: VisionLanguageNetwork, load: Load, *, mode: Recompute, compute: int, cp: int, vision_trained: bool
) -> tuple[Activations, Activations, Activations]:
    """Return low, expected and high activations of a micro-batch. A tower that is not trained keeps nothing."""
    language, vision, c = network.language, network.vision, compute
    tokens, patches = -(-load.tokens // cp), load.visual * network.merge
    width, merged = language.width, vision.width * network.merge
    seen = patches * network.patch_values * (1 + c)  # as bytes, and in the type of the tower
    if vision_trained:
        seen += vision.layers * patches * vision_block_bytes(vision, mode, c)
        seen += (1 + network.deepstack) * load.visual * c * (MERGER_KEPT * merged + width)
    kept = seen + language.layers * tokens * decoder_layer_bytes(language, mode, c)
    kept += tokens * width * (4 + c)  # the last norm
    kept += load.supervised * width * c
    block, tower = tokens * decoder_layer_bytes(language, "none", c), patches * vision_block_bytes(vision, "none", c)
    if mode == "none":  # is kept in any case; what is left is the gradient of its widest part
        block, tower = tokens * c * 2 * language.mlp, patches * c * 2 * vision.mlp
    last = tower if vision_trained else block
    rows = min(load.supervised, max(1, CHUNK_NUMBERS // network.vocabulary))
    chunked, logits = rows < load.supervised, rows * network.vocabulary
    return tuple(Activations(kept, max(block, tower), logits * each, seen, last, chunked) for each in LOGIT_BYTES)  # type: ignore[return-value]
