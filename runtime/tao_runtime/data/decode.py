"""Decoding without torch: from a file and frame indices to uint8 pixels. Training and preflight both decode here."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, UnidentifiedImageError

from tao_runtime.data.llava_parquet import inside_parquet, read_picture
from tao_runtime.errors import RunError


class DecodeError(RunError):
    """A medium cannot be decoded; names the file and what was seen."""


class MissingFrameError(DecodeError):
    """A video ends before a frame that its header promised."""


def decode_video(path: Path, indices: Sequence[int]) -> np.ndarray:
    """Return the frames at `indices` (ascending, 0-based in presentation order) as THWC uint8 RGB."""
    frames = dict(iter_frames(path, indices))
    return np.stack([frames[index] for index in indices])


def iter_frames(path: Path, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, HWC uint8 RGB) of the frames at `indices`, one at a time, all of one size."""
    wanted, shape = set(indices), None
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"  # several clips are decoded at once; threads inside one only compete
            reformatter = VideoReformatter()  # one per clip: making one per frame doubles the decode time
            for number, frame in enumerate(container.decode(stream)):
                if number in wanted:
                    # One thread: starting several for each frame takes longer than converting a small one.
                    image = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
                    shape = shape or image.shape
                    if image.shape != shape:
                        seen = " and ".join(sorted(f"{width}x{height}" for height, width, _ in (shape, image.shape)))
                        raise DecodeError(f"{path}: cannot be decoded (frames of {seen} in one video)")
                    wanted.remove(number)
                    yield number, image
                if number >= indices[-1]:
                    break
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        raise DecodeError(f"{path}: cannot be decoded ({error})") from error
    if wanted:
        first, promised = min(wanted), indices[-1] + 1
        raise MissingFrameError(f"{path}: frame {first} does not decode; the header promised at least {promised}")


def decode_image(path: Path) -> np.ndarray:
    """Return an image, also one inside a parquet file, as one THWC uint8 RGB frame."""
    try:
        with Image.open(io.BytesIO(read_picture(path)) if inside_parquet(path) else path) as image:
            return np.asarray(image.convert("RGB"))[None]
    except (OSError, UnidentifiedImageError) as error:
        raise DecodeError(f"{path}: cannot be decoded ({error})") from error


def frame_times_s(path: Path) -> list[float]:
    """Return when each frame of a video is shown, in order, from 0, by the container; empty if it does not say."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            base = stream.time_base
            stamps = [packet.pts for packet in container.demux(stream) if packet.size]
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        raise DecodeError(f"{path}: cannot be read ({error})") from error
    known = sorted(stamp for stamp in stamps if stamp is not None)
    if base is None or len(known) < len(stamps):
        return []
    return [float((stamp - known[0]) * base) for stamp in known]
