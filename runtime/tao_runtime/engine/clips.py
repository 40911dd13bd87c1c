"""Clips for generators: a window of a video at the size of its bucket, resized to cover and cropped in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from tao_runtime.engine.frames import decode_image, decode_video

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


def load_clip(path: Path, frame_indices: Sequence[int], *, height: int, width: int) -> torch.Tensor:
    """Return frames of a video, or an image as one frame, as THWC uint8 RGB of height x width.

    frame_indices: ascending, 0-based in presentation order.

    Raises:
        DecodeError: a frame does not decode.
    """
    is_image = path.suffix.lower() in IMAGES
    decoded_THWC = decode_image(path) if is_image else decode_video(path, frame_indices)
    writable_THWC = np.require(decoded_THWC, requirements="W")  # an image's are not, and torch wants to own them
    return cover_and_crop(torch.from_numpy(writable_THWC), height=height, width=width)


def cover_and_crop(frames_THWC: torch.Tensor, *, height: int, width: int) -> torch.Tensor:
    """Return frames of height x width, none of it padding, as little as possible cut off, in equal parts on both sides.

    Worked number: 1080 x 1920 to 192 x 320 scales by 192 / 1080 to 192 x 341, and cuts 10 columns left, 11 right.
    """
    _, high, wide, _ = frames_THWC.shape
    scale = max(height / high, width / wide)
    size = (max(height, round(high * scale)), max(width, round(wide * scale)))
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    frames_TCHW = frames_THWC.permute(0, 3, 1, 2)
    if size != (high, wide):
        frames_TCHW = F.interpolate(frames_TCHW.contiguous(), size, mode="bicubic", antialias=True)
    return frames_TCHW[:, :, top : top + height, left : left + width].permute(0, 2, 3, 1).contiguous()
