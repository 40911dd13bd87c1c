"""Decoding: from a file and frame indices to uint8 pixels at the size the model wants, kept within a byte budget."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image, UnidentifiedImageError
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from tao_runtime.data.llava_parquet import inside_parquet, parquet_of, read_picture
from tao_runtime.data.vision import MediaLayout
from tao_runtime.errors import RunError


class DecodeError(RunError):
    """A medium cannot be decoded; names the file and what was seen."""


def decode_video(path: Path, indices: Sequence[int]) -> np.ndarray:
    """Return the frames at `indices` (ascending, 0-based in presentation order) as THWC uint8 RGB."""
    wanted, frames = set(indices), {}
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"  # several clips are decoded at once; threads inside one only compete
            reformatter = VideoReformatter()  # one per clip: making one per frame doubles the decode time
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    # One thread: starting several for each frame takes longer than converting a small one.
                    frames[number] = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
                if number >= indices[-1]:
                    break
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        raise DecodeError(f"{path}: cannot be decoded ({error})") from error
    if missing := sorted(wanted - frames.keys()):
        raise DecodeError(f"{path}: frame {missing[0]} does not decode; the header promised at least {indices[-1] + 1}")
    return np.stack([frames[index] for index in indices])


def decode_image(path: Path) -> np.ndarray:
    """Return an image, also one inside a parquet file, as one THWC uint8 RGB frame."""
    try:
        with Image.open(io.BytesIO(read_picture(path)) if inside_parquet(path) else path) as image:
            return np.asarray(image.convert("RGB"))[None]
    except (OSError, UnidentifiedImageError) as error:
        raise DecodeError(f"{path}: cannot be decoded ({error})") from error


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
