"""The dry half of Predict1: its latents, and its names in both codebases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tao_runtime.data.clip_flops import ClipFlops, dit_flops
from tao_runtime.data.clips import LatentGeometry
from tao_runtime.data.dit import SHAPE as SHAPE
from tao_runtime.data.dit import DitNames, networks, swap

LATENT: Final = LatentGeometry(channels=16, temporal=8, spatial=8, patch=2)  # CV8x8x8 tokenizer, 1x2x2 patches
LAYERS: Final = {"7B": 28, "14B": 36}
HEADS: Final = {"7B": 32, "14B": 40}

NETWORKS: Final = networks(HEADS, LAYERS, extra_pos_embed_type="learnable")

# Upstream's name -> the library's, of `scripts/convert_cosmos_to_diffusers.py` (huggingface/diffusers, 0.42.1).
_TOP: Final = {
    "t_embedder.1": "time_embed.t_embedder",
    "affline_norm": "time_embed.norm",
    "x_embedder.proj.1": "patch_embed.proj",
    "extra_pos_embedder": "learnable_pos_embed",
    "final_layer.adaLN_modulation.1": "norm_out.linear_1",
    "final_layer.adaLN_modulation.2": "norm_out.linear_2",
    "final_layer.linear": "proj_out",
}
# Inside a block: blocks.0 is self-attention (FA), blocks.1 cross-attention (CA), blocks.2 the MLP.
_BLOCK: Final = {
    **{
        f"blocks.{number}.block.attn.{original}": f"{name}.{library}"
        for number, name in ((0, "attn1"), (1, "attn2"))
        for original, library in (
            ("to_q.0", "to_q"),
            ("to_q.1", "norm_q"),
            ("to_k.0", "to_k"),
            ("to_k.1", "norm_k"),
            ("to_v.0", "to_v"),
            ("to_out.0", "to_out.0"),
        )
    },
    "blocks.2.block.layer1": "ff.net.0.proj",
    "blocks.2.block.layer2": "ff.net.2",
    **{
        f"blocks.{number}.adaLN_modulation.{part}": f"norm{number + 1}.linear_{part}"
        for number in (0, 1, 2)
        for part in (1, 2)
    },
}
_MLP: Final = {"layer1": "ff.net.0.proj", "layer2": "ff.net.2"}
_POSITIONS: Final = ("pos_emb_t", "pos_emb_h", "pos_emb_w")
_SCOPES: Final = {"FA": "attn1", "CA": "attn2", "MLP": "ff"}

# In upstream's files, and not in the library's network: the loss's uncertainty, tables of positions, states of kernels.
LEFT_OUT: Final = ("logvar.", "pos_embedder.", "_extra_state")

NAMES: Final = DitNames(_TOP, _BLOCK, "blocks.block")
to_original, to_library = NAMES.to_original, NAMES.to_library


def original_names(size: str) -> list[str]:
    """Return every parameter of the network of a size, in upstream's names."""
    names = ["x_embedder.proj.1.weight", "affline_norm.weight"]
    names += [f"t_embedder.1.linear_{part}.weight" for part in (1, 2)]
    names += [f"extra_pos_embedder.{part}" for part in _POSITIONS]
    names += [f"final_layer.{part}.weight" for part in ("adaLN_modulation.1", "adaLN_modulation.2", "linear")]
    return NAMES.parameters(names, LAYERS[size])


def library_targets(modules: str) -> tuple[str, ...]:
    """Return the layers that get adapters: `FA.to_q` is attn1.to_q. A name without a scope is meant in all of them."""
    found = []
    for name in filter(None, (part.strip() for part in modules.split(","))):
        scope, dot, layer = name.partition(".")
        found.append(f"{_SCOPES[scope]}.{layer}" if dot and scope in _SCOPES else swap(name, _MLP))
    return tuple(found)


def clip_flops(config: Mapping[str, object]) -> ClipFlops | None:
    """Return the arithmetic of a clip, which has one noise level; None where the network's config does not say it."""
    return dit_flops(config, time_per_token=False)
