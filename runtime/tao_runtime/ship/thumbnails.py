"""Thumbnails: a strip of frames of a clip, or a picture, as a small JPEG in a data URI."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import av
from PIL import Image, UnidentifiedImageError

from tao_runtime.data.llava_parquet import inside_parquet, read_picture
from tao_runtime.errors import TaoError

FRAMES = 4  # of a clip
HEIGHT, MOST_WIDTH = 96, 192  # pixels of one frame
QUALITY = 72
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
MOST_DECODED = 1500  # frames before a place in a clip is given up: keyframes may be far apart


def thumbnail(media: str) -> str | None:
    """Return a data URI, at most some 30 kB; None if the file cannot be shown."""
    path = Path(media)
    try:
        frames = [_open(path)] if path.suffix.lower() in PICTURES or inside_parquet(path) else list(_frames(path))
    except (av.FFmpegError, OSError, UnidentifiedImageError, Image.DecompressionBombError, TaoError, *_BAD):
        return None
    if not frames:
        return None
    small = [_shrink(frame) for frame in frames]
    strip = Image.new("RGB", (sum(each.width for each in small) + 2 * (len(small) - 1), HEIGHT), "white")
    left = 0
    for each in small:
        strip.paste(each, (left, 0))
        left += each.width + 2
    out = io.BytesIO()
    strip.save(out, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


_BAD = (IndexError, ValueError)  # what PyAV says of a file without a video stream, or of a broken time base


def _open(path: Path) -> Image.Image:
    with Image.open(io.BytesIO(read_picture(path)) if inside_parquet(path) else path) as image:
        return image.convert("RGB")


def _frames(path: Path) -> Iterator[Image.Image]:
    """Yield frames at 1/8, 3/8, 5/8 and 7/8 of the clip; the first one alone where the container names no duration."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        if not stream.duration:
            yield next(container.decode(stream)).to_image()
            return
        begin = stream.start_time or 0
        for number in range(FRAMES):
            wanted = begin + stream.duration * (2 * number + 1) // (2 * FRAMES)
            container.seek(wanted, stream=stream)
            shown = None
            for count, frame in enumerate(container.decode(stream)):
                shown = frame
                if count >= MOST_DECODED or (frame.pts is not None and frame.pts >= wanted):
                    break
            if shown is not None:
                yield shown.to_image()


def _shrink(frame: Image.Image) -> Image.Image:
    """Scale to the height of the strip; what is wider than two squares is cut in the middle."""
    width = max(1, round(frame.width * HEIGHT / frame.height))
    scaled = frame.resize((width, HEIGHT), Image.Resampling.LANCZOS)
    left = max(0, (width - MOST_WIDTH) // 2)
    return scaled.crop((left, 0, left + min(width, MOST_WIDTH), HEIGHT))
