"""Names of Predict2's network (cosmos-predict2 models/text2image_dit.py) and of CosmosTransformer3DModel."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tao_runtime.data.names import NameMap

BLOCK, OURS = "blocks.{i}", "transformer_blocks.{i}"
LAYERS = {
    "q_proj": "to_q",
    "k_proj": "to_k",
    "v_proj": "to_v",
    "output_proj": "to_out.0",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
}


def _block_pairs() -> Iterator[tuple[str, str]]:
    for attention, ours in (("self_attn", "attn1"), ("cross_attn", "attn2")):
        for original, layer in LAYERS.items():
            yield f"{BLOCK}.{attention}.{original}.{{leaf}}", f"{OURS}.{ours}.{layer}.{{leaf}}"
    yield f"{BLOCK}.mlp.layer1.{{leaf}}", f"{OURS}.ff.net.0.proj.{{leaf}}"
    yield f"{BLOCK}.mlp.layer2.{{leaf}}", f"{OURS}.ff.net.2.{{leaf}}"
    for norm, part in enumerate(("self_attn", "cross_attn", "mlp"), 1):
        for number in (1, 2):
            yield f"{BLOCK}.adaln_modulation_{part}.{number}.{{leaf}}", f"{OURS}.norm{norm}.linear_{number}.{{leaf}}"


NAMES = NameMap(
    pairs=(
        *_block_pairs(),
        ("x_embedder.proj.1.{leaf}", "patch_embed.proj.{leaf}"),
        ("extra_pos_embedder.{leaf}", "learnable_pos_embed.{leaf}"),
        ("t_embedder.1.{leaf}", "time_embed.t_embedder.{leaf}"),
        ("t_embedding_norm.{leaf}", "time_embed.norm.{leaf}"),
        ("final_layer.adaln_modulation.1.{leaf}", "norm_out.linear_1.{leaf}"),
        ("final_layer.adaln_modulation.2.{leaf}", "norm_out.linear_2.{leaf}"),
        ("final_layer.linear.{leaf}", "proj_out.{leaf}"),
    ),
    dropped=re.compile(r"^accum_|^pos_embedder\.|_extra_state$"),
    prefixes=("net.", "net_ema.", "model.net."),
)
