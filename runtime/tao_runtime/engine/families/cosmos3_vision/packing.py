"""Several samples in one forward of Cosmos3OmniTransformer: texts end to end, then videos end to end.

The library's network takes one text and its video (diffusers 0.42.1). Everything in it is per token but attention, so
another attention processor is all that packing needs. Text tokens attend causally to their own text; video tokens
attend to their own text and video ("two_way", NVIDIA/cosmos-framework mot/attention.py:179-317).

Tensor suffixes: S tokens, H heads, D values of a head, C T H W latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import get_3d_mrope_ids_text_tokens, get_3d_mrope_ids_vae_tokens
from torch import nn

from tao_runtime.engine.varlen import segment_attention


@dataclass(frozen=True, slots=True)
class PackSample:
    """One sample as it enters a pack."""

    ids: torch.Tensor  # [L] int64: prompt, end of text, start of vision
    latents_CTHW: torch.Tensor  # given frames clean, the others noised
    timestep: float  # of the noised frames
    condition_frames: int
    fps: float  # of the clip's frames, before the tokenizer


@dataclass(frozen=True, slots=True)
class PackLayout:
    """Where samples lie in a pack: what attention needs to know."""

    text_lengths: tuple[int, ...]
    video_lengths: tuple[int, ...]

    @property
    def joint_lengths(self) -> tuple[int, ...]:
        return tuple(text + video for text, video in zip(self.text_lengths, self.video_lengths, strict=True))

    def interleave(self, text_S: torch.Tensor, video_S: torch.Tensor) -> torch.Tensor:
        """Return text 0, video 0, text 1, video 1, ... along dimension 0."""
        texts, videos = text_S.split(list(self.text_lengths)), video_S.split(list(self.video_lengths))
        return torch.cat([part for pair in zip(texts, videos, strict=True) for part in pair])


@dataclass(frozen=True, slots=True)
class Pack:
    """Arguments of the network's forward, and the layout for its attention."""

    arguments: dict[str, Any]
    layout: PackLayout

    @property
    def num_tokens(self) -> int:
        return sum(self.layout.joint_lengths)


class PackedAttention:
    """The attention processor of every layer; `layout` is that of the pack being run.

    Recomputation of activations runs before the next pack's forward, so it finds the layout it needs.
    """

    _attention_backend = None  # read by diffusers
    _parallel_config = None

    def __init__(self) -> None:
        self.layout: PackLayout | None = None

    def __call__(
        self, attn: Any, und_seq: torch.Tensor, gen_seq: torch.Tensor, rotary_emb: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        text, video = project(attn, und_seq, gen_seq, rotary_emb)
        text_SHD, video_SHD = self.attend(text, video)
        return attn.to_out(text_SHD.flatten(1)), attn.to_add_out(video_SHD.flatten(1))

    def attend(self, text: Stream, video: Stream) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what text and video tokens attend to, [S, H, D] each."""
        layout = self.layout
        assert layout is not None, "run_packed sets it"
        lengths, joint = layout.text_lengths, layout.joint_lengths
        text_SHD = segment_attention(text.q, text.k, text.v, lengths, lengths, causal=True)
        keys, values = layout.interleave(text.k_for_video, video.k), layout.interleave(text.v, video.v)
        return text_SHD, segment_attention(video.q, keys, values, layout.video_lengths, joint)


@dataclass(frozen=True, slots=True)
class Stream:
    """Queries, keys and values [S, H, D] of text or video tokens, normalised and rotated."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    k_for_video: torch.Tensor  # the text's keys as the video sees them; elsewhere `k`


def project(
    attn: Any, text_SC: torch.Tensor, video_SC: torch.Tensor, rotary: tuple[torch.Tensor, ...]
) -> tuple[Stream, Stream]:
    """Return text's and video's queries, keys and values, as the library's processor makes them."""
    cos_text, sin_text, cos_video, sin_video = (angle.unsqueeze(1) for angle in rotary)

    def heads(layer: nn.Module, tokens_SC: torch.Tensor) -> torch.Tensor:
        return layer(tokens_SC).unflatten(-1, (-1, attn.head_dim))

    plain_k = attn.norm_k(heads(attn.to_k, text_SC))
    k = rotate(plain_k, cos_text, sin_text)
    seen = k if attn.k_norm_und_for_gen is None else rotate(attn.k_norm_und_for_gen(plain_k), cos_text, sin_text)
    q = rotate(attn.norm_q(heads(attn.to_q, text_SC)), cos_text, sin_text)
    text = Stream(q, k, heads(attn.to_v, text_SC), seen)
    k = rotate(attn.norm_added_k(heads(attn.add_k_proj, video_SC)), cos_video, sin_video)
    q = rotate(attn.norm_added_q(heads(attn.add_q_proj, video_SC)), cos_video, sin_video)
    return text, Stream(q, k, heads(attn.add_v_proj, video_SC), k)


def rotate(x_SHD: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate the halves of each head by its token's angles."""
    first, second = x_SHD.chunk(2, dim=-1)
    return x_SHD * cos + torch.cat((-second, first), dim=-1) * sin


def install(model: Any, processor: PackedAttention) -> None:
    """Give every layer the processor. Before checkpointing, compilation and sharding."""
    for layer in model.layers:
        layer.self_attn.set_processor(processor)


def pack(samples: Sequence[PackSample], config: Any, *, temporal_compression: int) -> Pack:
    """Return a pack. config: the network's. Nothing is padded, nothing is cut."""
    texts, videos, noisy, scored, timesteps, shapes = [], [], [], [], [], []
    num_text = sum(len(sample.ids) for sample in samples)
    end = num_text
    device = samples[0].latents_CTHW.device
    for sample in samples:
        shape = grid(sample.latents_CTHW, config.latent_patch_size)
        text, offset = get_3d_mrope_ids_text_tokens(len(sample.ids), 0, config.enable_fps_modulation)
        texts.append(text)
        videos.append(_video_positions(shape, offset, sample.fps, config, temporal_compression))
        frames = torch.arange(sample.condition_frames, shape[0], device=device)
        per_frame = shape[1] * shape[2]
        scored.append(end + (frames[:, None] * per_frame + torch.arange(per_frame, device=device)).flatten())
        timesteps.append(torch.full((len(frames) * per_frame,), sample.timestep, device=device))
        noisy.append(frames)
        shapes.append(shape)
        end += shape[0] * per_frame
    arguments = {
        "input_ids": torch.cat([sample.ids for sample in samples]).to(device),
        "text_indexes": torch.arange(num_text, device=device),
        "position_ids": torch.cat(texts + videos, dim=1).to(device),
        "und_len": num_text,
        "sequence_length": end,
        "vision_tokens": [sample.latents_CTHW[None] for sample in samples],
        "vision_token_shapes": shapes,
        "vision_sequence_indexes": torch.arange(num_text, end, device=device),
        "vision_mse_loss_indexes": torch.cat(scored),
        "vision_timesteps": torch.cat(timesteps),
        "vision_noisy_frame_indexes": noisy,
    }
    lengths = tuple(shape[0] * shape[1] * shape[2] for shape in shapes)
    return Pack(arguments, PackLayout(tuple(len(sample.ids) for sample in samples), lengths))


def _video_positions(
    shape: tuple[int, int, int], offset: float, fps: float, config: Any, temporal_compression: int
) -> torch.Tensor:
    """Positions [3, tokens] of a video whose text ends at `offset`."""
    positions, _ = get_3d_mrope_ids_vae_tokens(
        *shape,
        temporal_offset=offset + config.unified_3d_mrope_temporal_modality_margin,
        reset_spatial_indices=config.unified_3d_mrope_reset_spatial_ids,
        fps=fps if config.enable_fps_modulation else None,
        base_fps=float(config.base_fps),
        temporal_compression_factor=temporal_compression,
    )
    return positions


def grid(latents_CTHW: torch.Tensor, patch: int) -> tuple[int, int, int]:
    """Return the tokens of a clip along time, height and width; the last row and column may be padded."""
    _, frames, height, width = latents_CTHW.shape
    return frames, -(-height // patch), -(-width // patch)


def run_packed(
    model: Any, packed: Pack, processor: PackedAttention, *, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    """Return each sample's velocity [C, T, H, W]; 0 on given frames.

    dtype: what the network computes in; sharded weights are stored in another. Positions and timesteps stay float32.
    """
    processor.layout = packed.layout
    arguments = dict(packed.arguments)
    arguments["vision_tokens"] = [latents.to(dtype) for latents in arguments["vision_tokens"]]
    return [velocity[0] for velocity in model(**arguments, return_dict=False)[0]]
