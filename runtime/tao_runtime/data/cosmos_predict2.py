"""The dry half of Predict2: its latents, and its names in both codebases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tao_runtime.data.clip_flops import ClipFlops, dit_flops
from tao_runtime.data.clips import LatentGeometry
from tao_runtime.data.dit import SHAPE as SHAPE
from tao_runtime.data.dit import DitNames, networks, swap

LATENT: Final = LatentGeometry(channels=16, temporal=4, spatial=8, patch=2)  # Wan2.1 tokenizer, 1x2x2 patches
LAYERS: Final = {"2B": 28, "14B": 36}
HEADS: Final = {"2B": 16, "14B": 40}

NETWORKS: Final = networks(HEADS, LAYERS, in_channels=17)

# Upstream's name -> the library's, of `scripts/convert_cosmos_to_diffusers.py` (huggingface/diffusers, 0.42.1).
_TOP: Final = {
    "t_embedder.1": "time_embed.t_embedder",
    "t_embedding_norm": "time_embed.norm",
    "x_embedder.proj.1": "patch_embed.proj",
    "final_layer.adaln_modulation.1": "norm_out.linear_1",
    "final_layer.adaln_modulation.2": "norm_out.linear_2",
    "final_layer.linear": "proj_out",
}
_LAYER: Final = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "output_proj": "to_out.0",
                 "q_norm": "norm_q", "k_norm": "norm_k"}  # fmt: skip
_MLP: Final = {"mlp.layer1": "ff.net.0.proj", "mlp.layer2": "ff.net.2"}
_BLOCK: Final = {
    **{
        f"{attention}.{original}": f"{name}.{library}"
        for attention, name in (("self_attn", "attn1"), ("cross_attn", "attn2"))
        for original, library in _LAYER.items()
    },
    **_MLP,
    **{
        f"adaln_modulation_{part}.{number}": f"norm{norm}.linear_{number}"
        for norm, part in ((1, "self_attn"), (2, "cross_attn"), (3, "mlp"))
        for number in (1, 2)
    },
}

# In upstream's files, and not in the library's network: counters of samples, tables of positions, states of kernels.
LEFT_OUT: Final = ("accum_", "pos_embedder.", "_extra_state")

NAMES: Final = DitNames(_TOP, _BLOCK, "blocks.")
to_original, to_library = NAMES.to_original, NAMES.to_library


def original_names(size: str) -> list[str]:
    """Return every parameter of the network of a size, in upstream's names."""
    names = ["x_embedder.proj.1.weight", "t_embedding_norm.weight"]
    names += [f"t_embedder.1.linear_{part}.weight" for part in (1, 2)]
    names += [f"final_layer.{part}.weight" for part in ("adaln_modulation.1", "adaln_modulation.2", "linear")]
    return NAMES.parameters(names, LAYERS[size])


def library_targets(modules: str) -> tuple[str, ...]:
    """Return the layers that get adapters, from upstream's comma-separated names; unknown ones stay as they are."""
    table = {**_LAYER, **_MLP}
    return tuple(swap(name.strip(), table) for name in modules.split(",") if name.strip())


def clip_flops(config: Mapping[str, object]) -> ClipFlops | None:
    """Return the arithmetic of a clip, whose frames have levels; None where the network's config does not say it."""
    return dit_flops(config, time_per_token=True)
