"""What the latent cache saves: epochs over real clips through a small AutoencoderKLWan, and one of the run after it.

The second epoch must not touch the tokenizer at all: its calls are counted. Prediction: an epoch of encodings takes
seconds, one of cache reads a few milliseconds a clip (hash known, one safetensors file): 50 times as fast or more.

Usage: python benchmarks/latent_cache.py [CLIPS]
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan

from tao_runtime.data.clips import Clip
from tao_runtime.engine.clip_source import FrozenVae
from tao_runtime.engine.demo.captioned_clips import MOTIONS, draw_clip
from tao_runtime.engine.demo.video import enlarged
from tao_runtime.engine.latent_cache import LatentCache
from tao_runtime.engine.video_file import write_video

RESULT = Path(__file__).parent / "results/latent_cache.json"
SIDE, FRAMES, TARGET = 128, 9, 20.0


def tokenizer(folder: Path) -> Path:
    """Write a small random video tokenizer of the library's class."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=16, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1)
    vae.save_pretrained(folder / "vae")
    return folder / "vae"


def clips(folder: Path, count: int) -> list[Path]:
    """Write real H.264 files."""
    rng, files = random.Random(0), [folder / f"{number}.mp4" for number in range(count)]
    for number, file in enumerate(files):
        frames_THWC = enlarged(draw_clip(MOTIONS[number % len(MOTIONS)], rng)[:FRAMES], SIDE)
        write_video(file, frames_THWC, fps=16)
    return files


def epoch(vae: FrozenVae, files: list[Path], clip: Clip) -> float:
    """Return the CPU seconds of an epoch over the latents."""
    start = time.process_time()
    for file in files:
        vae.latents(file, clip)
    return time.process_time() - start


def main(count: int) -> None:
    """Measure, and record."""
    torch.set_num_threads(1)
    calls = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, files = tokenizer(folder), clips(folder, count)
        clip = Clip(start=0, interval=1, num_frames=FRAMES, height=SIDE, width=SIDE, fps=16.0, tokens=0)

        def opened() -> FrozenVae:
            vae = FrozenVae(path, LatentCache(folder / "latents", 1 << 30), torch.device("cpu"))
            encode = vae.model.encode

            def counted(*args: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                return encode(*args, **options)

            vae.model.encode = counted
            return vae

        first_run = opened()
        first, called = epoch(first_run, files, clip), calls
        second, again = epoch(first_run, files, clip), calls - called
        resumed, later = epoch(opened(), files, clip), calls - called - again
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread, torch {torch.__version__}",
        "date": datetime.date.today().isoformat(),
        "clips": count,
        "pixels": [FRAMES, SIDE, SIDE],
        "cpu_s": {"first_epoch": round(first, 3), "second_epoch": round(second, 3), "next_run": round(resumed, 3)},
        "tokenizer_calls": {"first_epoch": called, "second_epoch": again, "next_run": later},
        "times_as_fast": round(first / second, 1),
        "target": TARGET,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    assert (called, again, later) == (count, 0, 0)
    assert first / second >= TARGET


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
