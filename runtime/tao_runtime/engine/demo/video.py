"""The demo of video generators: a tiny base is trained on captioned clips, and what it then generates is measured.

Colour and direction are read from pixels: a model that ignores its caption has a quarter of the directions right.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from tao_runtime.data.paths import make_folder
from tao_runtime.engine.clip_request import ClipRequest
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.demo.captioned_clips import FPS, FRAMES, MOTIONS, SIZE, Motion, draw_clip, draw_set, seen_motion
from tao_runtime.engine.demo.once import run_once
from tao_runtime.engine.pipelines import INDEX, save_pipeline
from tao_runtime.engine.video_file import write_video

CLIPS, BASE, RUN_DIR = Path("clips"), Path("base"), Path("runs/demo/tiny/train")
RECORDS = "clips.jsonl"  # the same clips and captions, for families that read a file of records
FITTED_ON = 64  # clips the linear tokenizer is fitted on


@dataclass(frozen=True, slots=True)
class VideoDemo:
    """What a family's demo is made of."""

    pipeline: Callable[[np.ndarray], Any]  # clips [N, T, H, W, C] -> the tiny pipeline, its tokenizer fitted to them
    spec: dict[str, Any]
    load: Callable[[Path], Any]  # the pipeline of a folder
    generate: Callable[[Any, ClipRequest], np.ndarray]
    gives_frame: bool  # the first frame is given
    text_length: int
    num_clips: int = 256
    size: int = SIZE  # pixels of a side, as trained; the files are smaller


def prepare(out: Path, demo: VideoDemo, *, share: float = 1.0) -> None:
    """Write base/, clips/ and train.yaml into `out`, unless they are there. `share` of the clips may be enough."""
    make_folder(out)
    count = max(len(MOTIONS), round(demo.num_clips * share))
    if not (out / CLIPS / "done").is_file():
        clips, captions = draw_set(count, seed=1)
        _write_clips(out / CLIPS, clips, captions)
    if not (out / BASE / INDEX).is_file():
        save_pipeline(demo.pipeline(draw_set(FITTED_ON, seed=1)[0]), out / BASE)
    write_atomically(out / "train.yaml", yaml.safe_dump(demo.spec, sort_keys=False))


def _write_clips(folder: Path, clips: np.ndarray, captions: list[str]) -> None:
    for name in ("videos", "metas"):
        (folder / name).mkdir(parents=True, exist_ok=True)

    def write(number: int) -> None:
        write_video(folder / f"videos/{number:04d}.mp4", clips[number], fps=FPS)
        (folder / f"metas/{number:04d}.txt").write_text(captions[number])

    with ThreadPoolExecutor(2) as pool:  # encoding releases the GIL
        list(pool.map(write, range(len(clips))))
    window = {"start_frame": 0, "end_frame": FRAMES - 1, "temporal_interval": 1}
    records = [
        {"vision_path": f"videos/{number:04d}.mp4", "t2w_windows": [{**window, "caption": caption}]}
        for number, caption in enumerate(captions)
    ]
    write_atomically(folder / RECORDS, "\n".join(map(json.dumps, records)) + "\n")
    (folder / "done").touch()


def enlarged(frames: np.ndarray, size: int) -> np.ndarray:
    """Return frames [..., H, W, C] of the demo's clips at a multiple of their size."""
    times = size // SIZE
    return frames.repeat(times, axis=-3).repeat(times, axis=-2)


def as_pixels(clips_NTHWC: np.ndarray) -> torch.Tensor:
    """Return clips as [N, C, T, H, W] in [-1, 1]."""
    return torch.from_numpy(clips_NTHWC).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def run(out: Path, demo: VideoDemo) -> None:
    """Train, generate a clip of each motion with the base and with the export, and print what they show."""
    console = Console()
    with chdir(out):
        run_record = run_once(Path("train.yaml"), "train", RUN_DIR)
        torch.set_num_threads(1)  # beside other work on the machine, more threads only wait for each other
        table = Table("weights", "steps", "colour", "direction", "seconds", box=box.SIMPLE_HEAD)
        steps, seconds = int(str(run_record["steps"])), float(str(run_record["seconds"]))
        for name, folder, done, spent in (
            ("base", BASE, 0, 0.0),
            ("trained", RUN_DIR / "export/model", steps, seconds),
        ):
            console.print(f"generating {len(MOTIONS)} clips: {name}")
            found = judge(demo, folder, Path("samples") / name)
            table.add_row(name, str(done), *(f"{right}/{len(MOTIONS)}" for right in found), f"{spent:.0f}")
        console.print(table)
    console.print(f"everything is in {out}: clips, base, plan, metrics, checkpoints, export, samples")


def judge(demo: VideoDemo, folder: Path, samples: Path) -> tuple[int, int]:
    """Generate a clip of every motion into `samples`; returns how many show the colour and the direction asked for."""
    pipeline, rng = demo.load(folder), random.Random(7)
    samples.mkdir(parents=True, exist_ok=True)
    colours = directions = 0
    for motion in MOTIONS:
        clip_THWC = generate(demo, pipeline, motion, rng)
        write_video(samples / f"{motion.caption.replace(' ', '-')}.mp4", clip_THWC, fps=FPS)
        seen = seen_motion(clip_THWC)
        colours, directions = (
            colours + (seen.colour == motion.colour),
            directions + (seen.direction == motion.direction),
        )
    return colours, directions


@torch.no_grad()
def generate(demo: VideoDemo, pipeline: Any, motion: Motion, rng: random.Random) -> np.ndarray:
    """Return a clip THWC uint8 of what is asked for."""
    given_THWC = enlarged(draw_clip(motion, rng)[:1], demo.size) if demo.gives_frame else None
    request = ClipRequest(
        motion.caption,
        demo.size,
        demo.size,
        FRAMES,
        float(FPS),
        steps=16,
        guidance=2.0,
        seed=MOTIONS.index(motion),
        text_length=demo.text_length,
        given_THWC=given_THWC,
    )
    return demo.generate(pipeline, request)


def train_spec(task: str, **changes: Any) -> dict[str, Any]:
    """Return a training spec of the Predict families, small; `changes` are dotted keys, __ for dots."""
    spec: dict[str, Any] = {
        "job": {"task": task, "output_root": "runs", "project": "demo", "group": "tiny", "name": "train"},
        "model": {
            "precision": "float32",
            "activation_checkpointing": {"mode": "none"},
            "tokenizer": {"vae_path": f"{BASE}/vae"},
            "text_encoder": f"{BASE}/text_encoder",
        },
        "optimizer": {"lr": 3e-3, "betas": [0.9, 0.99], "weight_decay": 0.1},
        "scheduler": {"name": "constant", "cycle_lengths": [350], "warm_up_steps": [50], "f_max": [1.0]},
        "trainer": {"max_iter": 350, "logging_iter": 10},
        "checkpoint": {"load_path": str(BASE), "save_iter": 175},
        "dataloader_train": {
            "dataset_dir": str(CLIPS),
            "num_frames": FRAMES,
            "video_size": [SIZE, SIZE],
            "batch_size": 16,
            "num_workers": 1,
        },
    }
    for key, value in changes.items():
        *tables, leaf = key.split("__")
        place = spec
        for table in tables:
            place = place.setdefault(table, {})
        place[leaf] = value
    return spec
