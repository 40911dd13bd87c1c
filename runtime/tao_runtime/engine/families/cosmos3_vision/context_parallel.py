"""Context parallelism for Cosmos3OmniTransformer: a pack's text and video tokens, each cut into equal parts.

The network has seams for it (`_cp_shard_fn`, `_cp_gather_fn`, diffusers 0.42.1), which get the tokens before the first
and after the last layer. A part is padded with zero tokens that attention never sees.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.distributed import ProcessGroup
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from tao_runtime.engine.context_parallel.collectives import gather
from tao_runtime.engine.context_parallel.ulysses import check_heads, spread_heads, to_heads, to_tokens
from tao_runtime.engine.families.cosmos3_vision.packing import PackedAttention, PackLayout, Stream, install


class UlyssesPackedAttention(PackedAttention):
    """Packed attention in which this rank has a part of the tokens outside, and a part of the heads inside."""

    def __init__(self, group: ProcessGroup) -> None:
        super().__init__()
        self.group = group

    def attend(self, text: Stream, video: Stream) -> tuple[torch.Tensor, torch.Tensor]:
        layout = self.layout
        assert layout is not None, "run_packed sets it"
        whole_text = self._whole(text, sum(layout.text_lengths))
        whole_video = self._whole(video, sum(layout.video_lengths))
        parts = super().attend(whole_text, whole_video)
        text_SHD, video_SHD = (to_tokens(pad_to(each, self.group.size()), self.group) for each in parts)
        return text_SHD, video_SHD

    def _whole(self, part: Stream, length: int) -> Stream:
        """All tokens of a part of the heads, without padding."""
        ranks = self.group.size()

        def exchange(tokens_SHD: torch.Tensor) -> torch.Tensor:
            return to_heads(spread_heads(tokens_SHD, ranks), self.group)[:length]

        k = exchange(part.k)
        seen = k if part.k_for_video is part.k else exchange(part.k_for_video)
        return Stream(exchange(part.q), k, exchange(part.v), seen)


def pad_to(tokens_S: torch.Tensor, ranks: int) -> torch.Tensor:
    """Return tokens padded with zeros to a multiple of the ranks along dimension 0."""
    missing = -len(tokens_S) % ranks
    return F.pad(tokens_S, (0, 0) * (tokens_S.ndim - 1) + (0, missing)) if missing else tokens_S


def share_clip(model: Any, group: ProcessGroup) -> None:
    """Make a network that is called with one text and its whole clip work on this rank's tokens of both."""
    processor, inner = split_tokens(model, group), model.forward

    def forward(**arguments: Any) -> Any:
        video = sum(math.prod(shape) for shape in arguments["vision_token_shapes"])
        processor.layout = PackLayout((int(arguments["und_len"]),), (video,))
        return inner(**arguments)

    model.forward = forward


def split_tokens(model: Any, group: ProcessGroup) -> UlyssesPackedAttention:
    """Make the network run on parts of a pack; returns the processor to run packs with. Before sharding.

    Every rank gets the same pack and computes every velocity, so each returns 1 / ranks of the numerator.

    Raises:
        ValueError: the heads do not divide by the ranks.
    """
    ranks, rank = group.size(), group.rank()
    check_heads(model.config.num_attention_heads, ranks)
    processor = UlyssesPackedAttention(group)
    install(model, processor)

    def own(tokens_S: torch.Tensor) -> torch.Tensor:
        return pad_to(tokens_S, ranks).chunk(ranks)[rank]

    def cut(text: torch.Tensor, video: torch.Tensor, rotary: tuple[torch.Tensor, ...]) -> tuple[Any, ...]:
        return own(text), own(video), tuple(own(angle) for angle in rotary)

    def join(text: torch.Tensor, video: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        layout = processor.layout
        assert layout is not None
        whole_text, whole_video = (gather(each, group).flatten(0, 1) for each in (text, video))
        return whole_text[: sum(layout.text_lengths)], whole_video[: sum(layout.video_lengths)]

    model._cp_shard_fn, model._cp_gather_fn = cut, join
    return processor
