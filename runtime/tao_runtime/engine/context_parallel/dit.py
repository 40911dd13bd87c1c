"""Context parallelism over latent frames for a diffusion transformer of diffusers with `attn1`, `attn2` and `rope`.

Each rank runs the network on its own frames. Self-attention exchanges; cross-attention to the text does not need to;
positions are those of the whole clip.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch import nn
from torch.distributed import ProcessGroup
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from tao_runtime.engine.context_parallel.ulysses import check_heads, to_heads, to_tokens


class UlyssesSelfAttention:
    """The processor of `attn1`: what the library's does (CosmosAttnProcessor2_0, 0.42.1), over all ranks' tokens."""

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: None = None,
        attention_mask: None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        q, k, v = (
            project(hidden_states).unflatten(2, (attn.heads, -1)) for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        q, k = attn.norm_q(q), attn.norm_k(k)
        if image_rotary_emb is not None:
            q, k = (
                apply_rotary_emb(each, image_rotary_emb, use_real=True, use_real_unbind_dim=-2, sequence_dim=1)
                for each in (q, k)
            )
        q, k, v = (to_heads(each, self.group).transpose(1, 2) for each in (q, k, v))
        out_BHSD = F.scaled_dot_product_attention(q, k, v)
        out = to_tokens(out_BHSD.transpose(1, 2), self.group).flatten(2).type_as(hidden_states)
        return attn.to_out[1](attn.to_out[0](out))


def split_frames(model: nn.Module, group: ProcessGroup) -> None:
    """Make a network work on this rank's part of the latent frames. Before checkpointing, compilation and sharding.

    Raises:
        ValueError: the heads do not divide by the ranks.
    """
    network: Any = model
    for block in network.transformer_blocks:
        check_heads(block.attn1.heads, group.size())
        block.attn1.set_processor(UlyssesSelfAttention(group))
    rope, learnt = network.rope, network.learnable_pos_embed
    rope.forward = partial(_own_positions, type(rope).forward, rope, group)
    if learnt is not None:
        learnt.forward = partial(_own_embedding, type(learnt).forward, learnt, group)


def _own_positions(forward: Any, module: Any, group: ProcessGroup, hidden: torch.Tensor, **options: Any) -> Any:
    """The rotary angles of this rank's frames, out of those of the whole clip: [tokens, D] each."""
    cosine, sine = forward(module, _whole(hidden, group), **options)
    return cosine.chunk(group.size())[group.rank()], sine.chunk(group.size())[group.rank()]


def _own_embedding(forward: Any, module: Any, group: ProcessGroup, hidden: torch.Tensor) -> Any:
    """The learnt position embeddings of this rank's frames: [B, tokens, C]."""
    return forward(module, _whole(hidden, group)).chunk(group.size(), dim=1)[group.rank()]


def _whole(hidden_BCTHW: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """A tensor of the whole clip's shape, without memory: only its shape, type and device are read."""
    batch, channels, frames, height, width = hidden_BCTHW.shape
    return hidden_BCTHW.new_empty(1).expand(batch, channels, frames * group.size(), height, width)
