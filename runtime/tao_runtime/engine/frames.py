"""Decoded frames as tensors at the size the model wants, kept within a byte budget."""

from __future__ import annotations

import threading
from pathlib import Path

import torch
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from tao_runtime.data.decode import DecodeError, decode_image, decode_video
from tao_runtime.data.llava_parquet import inside_parquet, parquet_of
from tao_runtime.data.vision import MediaLayout

__all__ = ["DecodeError", "FrameCache", "decode_image", "decode_video", "load_frames"]


def load_frames(path: Path, layout: MediaLayout) -> torch.Tensor:
    """Return the frames of a layout as TCHW uint8, resized (bicubic, antialiased, in uint8, as torchvision does)."""
    frames_THWC = decode_image(path) if layout.kind == "image" else decode_video(path, layout.frame_indices)
    frames_TCHW = torch.from_numpy(frames_THWC).permute(0, 3, 1, 2).contiguous()
    if frames_TCHW.shape[-2:] == (layout.height, layout.width):
        return frames_TCHW
    return F.interpolate(frames_TCHW, (layout.height, layout.width), mode="bicubic", antialias=True)


class FrameCache:
    """Decoded frames by content (path, size, modification time), decoder and sampling; filled up to a byte budget.

    Nothing is evicted: every epoch visits every clip once, so that evicting would only lower the hit rate. Safe to
    share between threads.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self.hits = 0
        self.misses = 0
        self._frames: dict[tuple[object, ...], torch.Tensor] = {}
        self._lock = threading.Lock()

    def load(self, path: Path, layout: MediaLayout) -> torch.Tensor:
        """Return `load_frames(path, layout)`, decoding only what is not kept."""
        status = parquet_of(path).stat() if inside_parquet(path) else path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns, layout.frame_indices, layout.height, layout.width)
        with self._lock:
            found = self._frames.get(key)
            self.hits += found is not None
            self.misses += found is None
        if found is not None:
            return found
        frames = load_frames(path, layout)
        with self._lock:
            if self.used_bytes + frames.nbytes <= self.budget_bytes and key not in self._frames:
                self._frames[key] = frames
                self.used_bytes += frames.nbytes
        return frames
