"""Names of Cosmos3's unified MoT (NVIDIA/cosmos-framework mot/unified_mot.py) and of Cosmos3OmniTransformer.

Names that end in `_moe_gen` are the generation tower's; diffusers calls its attention layers `add_*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tao_runtime.data.names import NameMap

BLOCK, OURS = "language_model.model.layers.{i}", "layers.{i}"
ATTENTION = {
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
    "k_norm_und_for_gen": "k_norm_und_for_gen",
}
SHARED = tuple(f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj"))
SHARED += tuple(name.replace("mlp.", "mlp_moe_gen.") for name in SHARED)
SHARED += ("input_layernorm", "post_attention_layernorm", "input_layernorm_moe_gen", "post_attention_layernorm_moe_gen")


def _block_pairs() -> Iterator[tuple[str, str]]:
    for original, ours in ATTENTION.items():
        yield f"{BLOCK}.self_attn.{original}.{{leaf}}", f"{OURS}.self_attn.{ours}.{{leaf}}"
    for name in SHARED:
        yield f"{BLOCK}.{name}.{{leaf}}", f"{OURS}.{name}.{{leaf}}"


NAMES = NameMap(
    pairs=(
        *_block_pairs(),
        ("language_model.model.embed_tokens.{leaf}", "embed_tokens.{leaf}"),
        ("language_model.model.norm.{leaf}", "norm.{leaf}"),
        ("language_model.model.norm_moe_gen.{leaf}", "norm_moe_gen.{leaf}"),
        ("language_model.lm_head.{leaf}", "lm_head.{leaf}"),
        ("vae2llm.{leaf}", "proj_in.{leaf}"),
        ("llm2vae.{leaf}", "proj_out.{leaf}"),
        ("time_embedder.mlp.0.{leaf}", "time_embedder.linear_1.{leaf}"),
        ("time_embedder.mlp.2.{leaf}", "time_embedder.linear_2.{leaf}"),
    ),
    dropped=re.compile(r"rotary_emb\.inv_freq$|^visual\.|_extra_state$"),
    prefixes=("net.", "net_ema.", "model.net."),
)
