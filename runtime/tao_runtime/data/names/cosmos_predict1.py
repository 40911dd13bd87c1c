"""Names of Predict1's GeneralDIT (cosmos-predict1 networks/general_dit.py) and of CosmosTransformer3DModel.

A block is three sub-blocks: attention to itself (0), to the text (1), and the MLP (2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tao_runtime.data.names import NameMap

BLOCK, OURS = "blocks.block{i}.blocks", "transformer_blocks.{i}"
LAYERS = {"to_q.0": "to_q", "to_q.1": "norm_q", "to_k.0": "to_k", "to_k.1": "norm_k", "to_v.0": "to_v"}


def _block_pairs() -> Iterator[tuple[str, str]]:
    for number in (0, 1):
        for original, ours in {**LAYERS, "to_out.0": "to_out.0"}.items():
            yield f"{BLOCK}.{number}.block.attn.{original}.{{leaf}}", f"{OURS}.attn{number + 1}.{ours}.{{leaf}}"
    yield f"{BLOCK}.2.block.layer1.{{leaf}}", f"{OURS}.ff.net.0.proj.{{leaf}}"
    yield f"{BLOCK}.2.block.layer2.{{leaf}}", f"{OURS}.ff.net.2.{{leaf}}"
    for number in (0, 1, 2):
        for layer in (1, 2):
            original = f"{BLOCK}.{number}.adaLN_modulation.{layer}.{{leaf}}"
            yield original, f"{OURS}.norm{number + 1}.linear_{layer}.{{leaf}}"


NAMES = NameMap(
    pairs=(
        *_block_pairs(),
        ("x_embedder.proj.1.{leaf}", "patch_embed.proj.{leaf}"),
        ("extra_pos_embedder.{leaf}", "learnable_pos_embed.{leaf}"),
        ("t_embedder.1.{leaf}", "time_embed.t_embedder.{leaf}"),
        ("affline_norm.{leaf}", "time_embed.norm.{leaf}"),
        ("final_layer.adaLN_modulation.1.{leaf}", "norm_out.linear_1.{leaf}"),
        ("final_layer.adaLN_modulation.2.{leaf}", "norm_out.linear_2.{leaf}"),
        ("final_layer.linear.{leaf}", "proj_out.{leaf}"),
    ),
    dropped=re.compile(r"^logvar\.|^pos_embedder\.|_extra_state$"),
    prefixes=("net.", "net_ema.", "model.net."),
)
