"""The dry half of the vision family: sizes of its tiers, its latents, and its names in both codebases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tao_runtime.data.clip_flops import ClipFlops, two_tower_flops
from tao_runtime.data.clips import LatentGeometry

# (height, width) by tier: VIDEO_RES_SIZE_INFO of the framework, for 16:9, 4:3, 1:1, 3:4, 9:16.
SIZES: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "256": ((192, 320), (256, 320), (256, 256), (320, 256), (320, 192)),
    "480": ((480, 832), (544, 736), (640, 640), (736, 544), (832, 480)),
    "720": ((720, 1280), (832, 1104), (960, 960), (1104, 832), (1280, 720)),
}
SHIFTS: Final = {"256": 3.0, "480": 5.0, "720": 10.0}
LATENT: Final = LatentGeometry(channels=48, temporal=4, spatial=16, patch=2)  # Wan2.2 TI2V tokenizer, 2x2 patches
LAYERS: Final = {"nano": 36, "super": 64}
HEADS: Final = {"nano": 32, "super": 64}  # of queries; keys and values have 8, repeated where a group is larger
PROMPT_FORMAT: Final = "video/json-or-sentence"

# What the network's own file says, by size: the library's default is nano (diffusers 0.42.1, Cosmos3OmniTransformer).
_NETWORK: Final[Mapping[str, object]] = {
    "_class_name": "Cosmos3OmniTransformer",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "head_dim": 128,
    "num_key_value_heads": 8,
    "vocab_size": 151936,
    "patch_latent_dim": 192,
}
_SUPER: Final = {"hidden_size": 5120, "intermediate_size": 25600}
NETWORKS: Final[Mapping[str, Mapping[str, object]]] = {
    size: {
        **_NETWORK,
        **(_SUPER if size == "super" else {}),
        "num_attention_heads": HEADS[size],
        "num_hidden_layers": LAYERS[size],
    }
    for size in HEADS
}
SHAPE: Final = ("hidden_size", "num_attention_heads", "num_hidden_layers")  # keys that tell one size from another

# Parts of a layer: upstream's name -> the library's (0.42.1). `_moe_gen` is the generator's tower.
_ATTENTION: Final = {
    "q_proj": "to_q",
    "k_proj": "to_k",
    "v_proj": "to_v",
    "o_proj": "to_out",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
    "q_proj_moe_gen": "add_q_proj",
    "k_proj_moe_gen": "add_k_proj",
    "v_proj_moe_gen": "add_v_proj",
    "o_proj_moe_gen": "to_add_out",
    "q_norm_moe_gen": "norm_added_q",
    "k_norm_moe_gen": "norm_added_k",
}
_TOP: Final = {
    "vae2llm": "proj_in",
    "llm2vae": "proj_out",
    "time_embedder.mlp.0": "time_embedder.linear_1",
    "time_embedder.mlp.2": "time_embedder.linear_2",
}
_PREFIX: Final = "language_model.model."
_LAYER: Final = re.compile(r"layers\.(\d+)\.(.+)")
_LIBRARY_ATTENTION: Final = {library: original for original, library in _ATTENTION.items()}
_LIBRARY_TOP: Final = {library: original for original, library in _TOP.items()}

# In upstream's files, and not in the library's network: the vision tower of the reasoner, states of kernels.
LEFT_OUT: Final = ("visual.", "_extra_state")


def to_original(name: str) -> str:
    """Return upstream's name of a parameter or module of the library's network, with the suffix of an adapter kept."""
    name = name.removeprefix("transformer.")
    for library, original in _LIBRARY_TOP.items():
        if name == library or name.startswith(library + "."):
            return "net." + original + name.removeprefix(library)
    if name == "lm_head" or name.startswith("lm_head."):
        return "net.language_model." + name
    return "net." + _PREFIX + _rename(name, _LIBRARY_ATTENTION)


def to_library(name: str) -> str:
    """Return the library's name of one of upstream's, without `net.` or `net_ema.`."""
    name = name.removeprefix("model.").removeprefix("net.").removeprefix("net_ema.")
    for original, library in _TOP.items():
        if name == original or name.startswith(original + "."):
            return library + name.removeprefix(original)
    if name.startswith("language_model.lm_head"):
        return name.removeprefix("language_model.")
    return _rename(name.removeprefix(_PREFIX), _ATTENTION)


def _rename(name: str, table: dict[str, str]) -> str:
    layer = _LAYER.fullmatch(name)
    if layer is None or not layer[2].startswith("self_attn."):
        return name
    part, dot, rest = layer[2].removeprefix("self_attn.").partition(".")
    return f"layers.{layer[1]}.self_attn.{table.get(part, part)}{dot}{rest}"


def original_names(size: str) -> list[str]:
    """Return every parameter of the network of a size, in upstream's names: 804 for nano, with its 36 layers."""
    names = ["language_model.model.embed_tokens.weight", "language_model.lm_head.weight"]
    names += [f"language_model.model.{norm}.weight" for norm in ("norm", "norm_moe_gen")]
    names += [f"{top}.{kind}" for top in _TOP for kind in ("weight", "bias")]
    for layer in range(LAYERS[size]):
        parts = [f"self_attn.{name}" for name in _ATTENTION]
        for tower in ("", "_moe_gen"):
            parts += [f"mlp{tower}.{name}_proj" for name in ("gate", "up", "down")]
            parts += [f"{norm}{tower}" for norm in ("input_layernorm", "post_attention_layernorm")]
        names += [f"language_model.model.layers.{layer}.{part}.weight" for part in parts]
    return ["net." + name for name in names]


def library_targets(modules: str) -> tuple[str, ...]:
    """Return the layers that get adapters, from upstream's comma-separated names; unknown ones stay as they are."""
    return tuple(_ATTENTION.get(name.strip(), name.strip()) for name in modules.split(",") if name.strip())


def clip_flops(config: Mapping[str, object]) -> ClipFlops | None:
    """Return the arithmetic of a clip; None where the network's config does not say it."""
    return two_tower_flops(config)
