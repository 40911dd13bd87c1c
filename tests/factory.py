"""Small real things for tests: H.264 clips, pictures, LLaVA annotation files, and the tables of a spec."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers


def make_clip(
    path: Path, *, num_frames: int = 16, size: int = 64, fps: int = 8, seed: int = 0, faststart: bool = False
) -> Path:
    """Write an mp4 in which a white square moves over a coloured ground; another seed is another clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ground = np.random.default_rng(seed).integers(0, 160, 3, dtype=np.uint8)
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        container.start_encoding()  # so that a file is written even for no frames
        for number in range(num_frames):
            frame_HWC = np.full((size, size, 3), ground, np.uint8)
            left = (number * 3) % max(1, size - 16)
            frame_HWC[8:24, left : left + 16] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())
    return path


def make_uneven_clip(path: Path, stamps: Sequence[int]) -> Path:
    """Write a clip whose frames are shown at `stamps`, in hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=100, options={"bf": "0"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 100)
        for stamp in stamps:
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), stamp % 200, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_image(path: Path, *, width: int = 64, height: int = 64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (10, 120, 200)).save(path)
    return path


def make_record(
    number: int, video: str = "clip_0.mp4", *, answer: str = "right", **fields: object
) -> dict[str, object]:
    """A good LLaVA record; `fields` overrides its keys, and None removes one."""
    record: dict[str, object] = {
        "id": str(number),
        "video": video,
        "video_fps": 8.0,
        "conversations": [
            {"from": "human", "value": "<video>\nWhich way does the square move? Answer left or right."},
            {"from": "gpt", "value": answer},
        ],
        **fields,
    }
    return {key: value for key, value in record.items() if value is not None}


def write_annotations(root: Path, records: object, *, name: str = "annotations.json") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / name
    path.write_text(json.dumps(records))
    return path


def make_dataset(root: Path, num_records: int = 8, *, num_clips: int = 2, seed: int = 0) -> Path:
    """Make a dataset root of real clips with annotations; return the root."""
    for number in range(num_clips):
        make_clip(root / f"clip_{number}.mp4", seed=seed + number)
    write_annotations(root, [make_record(i, f"clip_{i % num_clips}.mp4") for i in range(num_records)])
    return root


def make_snapshot(root: Path, *, parameters: int = 64, sparse: bool = False) -> Path:
    """Make a model directory that is whole on the outside: headers, configuration, a byte-level tokenizer.

    With `sparse` the weight file has its length, but its zeros take no room on the disk.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.json").write_text(json.dumps({"model_type": "qwen3_vl", "vision_config": {"patch_size": 16}}))
    (root / "preprocessor_config.json").write_text("{}")
    tokenizer = Tokenizer(
        models.BPE(vocab={char: i for i, char in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(
        [f"<|{name}|>" for name in ("im_start", "im_end", "vision_start", "vision_end", "video_pad", "image_pad")]
    )
    tokenizer.save(str(root / "tokenizer.json"))
    header = json.dumps({"w": {"dtype": "F32", "shape": [parameters], "data_offsets": [0, 4 * parameters]}}).encode()
    with (root / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        if sparse:
            file.truncate(8 + len(header) + 4 * parameters)
        else:
            file.write(bytes(4 * parameters))
    return root
