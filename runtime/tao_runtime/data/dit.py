"""What the families of the network CosmosTransformer3DModel share of their dry half: its configuration, its names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

# What every size's own file says: `scripts/convert_cosmos_to_diffusers.py` (huggingface/diffusers, 0.42.1).
NETWORK: Final[Mapping[str, object]] = {
    "_class_name": "CosmosTransformer3DModel",
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 128,
    "mlp_ratio": 4.0,
    "text_embed_dim": 1024,
    "adaln_lora_dim": 256,
    "max_size": [128, 240, 240],
    "patch_size": [1, 2, 2],
    "concat_padding_mask": True,
    "extra_pos_embed_type": None,
}
SHAPE: Final = ("num_attention_heads", "attention_head_dim", "num_layers")  # keys that tell one size from another
_LIBRARY_BLOCK: Final = re.compile(r"transformer_blocks\.(\d+)\.(.+)")


def networks(heads: Mapping[str, int], layers: Mapping[str, int], **keys: object) -> Mapping[str, Mapping[str, object]]:
    """Return the configurations as published, by size; `keys`: what a family has in place of NETWORK's."""
    return {size: {**NETWORK, **keys, "num_attention_heads": heads[size], "num_layers": layers[size]} for size in heads}


@dataclass(frozen=True)
class DitNames:
    """Names of parameters and modules in upstream's code and in the library's."""

    top: Mapping[str, str]  # upstream's -> the library's, outside the blocks
    block: Mapping[str, str]  # and inside of them
    prefix: str  # of a block's number in upstream's names

    def to_original(self, name: str) -> str:
        """Return upstream's name of one of the library's, with the suffix of an adapter kept."""
        name = name.removeprefix("transformer.")
        block = _LIBRARY_BLOCK.fullmatch(name)
        if block is None:
            return "net." + swap(name, _turned(self.top))
        return f"net.{self.prefix}{block[1]}.{swap(block[2], _turned(self.block))}"

    def to_library(self, name: str) -> str:
        """Return the library's name of one of upstream's, with or without `net.`."""
        name = name.removeprefix("net.")
        block = re.fullmatch(re.escape(self.prefix) + r"(\d+)\.(.+)", name)
        if block is None:
            return swap(name, self.top)
        return f"transformer_blocks.{block[1]}.{swap(block[2], self.block)}"

    def parameters(self, outside: Iterable[str], layers: int) -> list[str]:
        """Return every parameter of a network of so many blocks, in upstream's names; `outside`: those in no block."""
        inside = [f"{self.prefix}{layer}.{part}.weight" for layer in range(layers) for part in self.block]
        return ["net." + name for name in (*outside, *inside)]


def _turned(table: Mapping[str, str]) -> dict[str, str]:
    return {library: original for original, library in table.items()}


def swap(name: str, table: Mapping[str, str]) -> str:
    """Replace the longest beginning of a name, up to a dot, that the table knows."""
    for head in sorted(table, key=len, reverse=True):
        if name == head or name.startswith(head + "."):
            return table[head] + name.removeprefix(head)
    return name
