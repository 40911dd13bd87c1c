"""Clips for the demo: a square that moves left, right, up or down, as real H.264 files with LLaVA annotations."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.video_file import write_video

SIZE = 64  # pixels, both sides
FRAMES = 16
FPS = 8
QUESTION = "Which way does the square move?"
DIRECTIONS = ("left", "right", "up", "down")
COLOURS = ((255, 60, 60), (60, 255, 60), (60, 60, 255), (255, 255, 60))


@dataclass(frozen=True, slots=True)
class ClipSet:
    """A data set to make: so many clips of each of some directions."""

    name: str
    directions: Sequence[str]
    per_direction: int
    seed: int


def draw_clip(direction: str, rng: random.Random) -> np.ndarray:
    """Return a clip as THWC uint8 RGB: a coloured square on black that crosses at least half of the free way."""
    side = SIZE // 4
    free = SIZE - side
    way = rng.uniform(0.5, 1.0) * free
    start, across = rng.uniform(0, free - way), rng.uniform(0, free)
    colour = COLOURS[rng.randrange(len(COLOURS))]
    clip_THWC = np.zeros((FRAMES, SIZE, SIZE, 3), np.uint8)
    for number in range(FRAMES):
        along = start + way * number / (FRAMES - 1)
        if direction in ("left", "up"):
            along = free - along
        x, y = (along, across) if direction in ("left", "right") else (across, along)
        column, row = round(x), round(y)
        clip_THWC[number, row : row + side, column : column + side] = colour
    return clip_THWC


def make_set(root: Path, wanted: ClipSet) -> int:
    """Write `<root>/<name>/annotations.json` and its clips; returns how many. A complete set is left as it is."""
    folder = root / wanted.name
    annotation = folder / "annotations.json"
    total = wanted.per_direction * len(wanted.directions)
    if annotation.is_file():
        return total
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    rng = random.Random(wanted.seed)
    directions = list(wanted.directions) * wanted.per_direction
    rng.shuffle(directions)
    clips = [(f"clips/{wanted.name}-{number:04d}.mp4", direction) for number, direction in enumerate(directions)]
    drawn = [(folder / name, draw_clip(direction, rng)) for name, direction in clips]
    with ThreadPoolExecutor(2) as pool:  # encoding releases the GIL
        list(pool.map(lambda item: write_video(*item, fps=FPS), drawn))
    records = [
        {
            "id": Path(name).stem,
            "video": name,
            "video_fps": FPS,
            "conversations": [
                {"from": "human", "value": f"<video>\n{QUESTION}"},
                {"from": "gpt", "value": direction},
            ],
        }
        for name, direction in clips
    ]
    write_atomically(annotation, json.dumps(records, indent=1))
    return total
