"""A frozen video tokenizer beside the network: its weights, and what encoding one clip takes, in float32.

Bytes were counted from every tensor that is alive while diffusers 0.42.1 encodes (tests/engine/trace): Wan's encoders
go through a clip four frames at a time, Cosmos' takes all of it at once. Attention that keeps its scores would take
more; kernels of GPUs do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.plan.model import Range

FLOAT: Final = 4  # bytes of its numbers
SPREAD: Final = 1.3  # workspaces of convolutions


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """What an encoder takes."""

    parameters: int
    pixel: float = 0.0  # bytes of a pixel of one frame
    pixel_and_frame: float = 24.0  # of every pixel: decoded, as float32, and padded

    def memory(self, num_frames: int, height: int, width: int) -> Range:
        """Return bytes. Low: latents of all clips are kept on disk, and nothing is encoded.

        Worked number, Wan 2.1 and 93 frames of 704x1280: 704 x 1280 x (14,076 + 12.5 x 93) = 13.7 GB = 12.8 GiB.
        """
        weights = FLOAT * self.parameters
        encoding = height * width * (self.pixel + self.pixel_and_frame * num_frames)
        return Range(low=weights, expected=weights + encoding, high=weights + SPREAD * encoding)


WAN21: Final = Tokenizer(126_892_531, 14_076, 12.5)
WAN22: Final = Tokenizer(704_688_668, 7_188, 24.4)
CV8: Final = Tokenizer(105_653_696, 648, 100)


def tokenizer_of(config: Mapping[str, object], parameters: int | None, published: Tokenizer) -> Tokenizer:
    """Return what a tokenizer of a configuration takes; the published one where there is none on this machine."""
    if not config:
        return published
    kind, base = config.get("_class_name"), config.get("base_dim")
    count = parameters if parameters is not None else published.parameters
    if kind == "AutoencoderKLWan":
        split = config.get("patch_size") not in (None, 1)
        like, usual = (WAN22, 160) if split else (WAN21, 96)
        share = base / usual if isinstance(base, int) else 1.0
        return Tokenizer(count, like.pixel * share, like.pixel_and_frame)
    if kind == "AutoencoderKLCosmos":
        widths = config.get("encoder_block_out_channels")
        share = widths[0] / 128 if isinstance(widths, list | tuple) and widths else 1.0
        return Tokenizer(count, CV8.pixel * share, CV8.pixel_and_frame * share)
    return Tokenizer(count)
