"""Captioned clips for video generation, and what a generated clip shows: which colour, moving which way.

A coloured square starts in the middle, so that only the caption tells where it goes. There are four colours and four
directions: a model that ignores its captions is right once in four.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product

import numpy as np

SIZE = 64  # pixels, both sides
FRAMES = 17  # 1 + a multiple of 4 and of 8, what causal video tokenizers take
FPS = 16
SIDE = 18  # of the square
GREY = 24  # background
COLOURS = {"red": (230, 40, 40), "green": (40, 210, 60), "blue": (50, 80, 240), "yellow": (235, 220, 40)}
STEPS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}  # of x and y
SATURATED = 60  # largest minus smallest channel of a pixel that belongs to the square
FEWEST = 20  # pixels that make a square


@dataclass(frozen=True, slots=True)
class Motion:
    """What a clip is asked to show, or shows; None where nothing can be seen."""

    colour: str | None
    direction: str | None

    @property
    def caption(self) -> str:
        return f"a {self.colour} square moves {self.direction}"


MOTIONS = tuple(Motion(colour, direction) for colour, direction in product(COLOURS, STEPS))


def draw_clip(motion: Motion, rng: random.Random, palette: dict[str, tuple[int, int, int]] = COLOURS) -> np.ndarray:
    """Return a clip as THWC uint8 RGB, from the middle to one border. A palette says which colour a word is."""
    assert motion.colour is not None and motion.direction is not None
    dx, dy = STEPS[motion.direction]
    free = SIZE - SIDE
    start, end = free // 2 + rng.randint(-3, 3), free - rng.randint(0, 3)
    across = free // 2 + rng.randint(-3, 3)
    clip_THWC = np.full((FRAMES, SIZE, SIZE, 3), GREY, np.uint8)
    for number in range(FRAMES):
        along = start + (end - start) * number / (FRAMES - 1)
        along = along if dx + dy > 0 else free - along
        column, row = (round(along), across) if dx else (across, round(along))
        clip_THWC[number, row : row + SIDE, column : column + SIDE] = palette[motion.colour]
    return clip_THWC


def draw_set(num_clips: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Return clips [N, T, H, W, C] uint8 and their captions, each motion as often as any other."""
    rng = random.Random(seed)
    motions = [MOTIONS[number % len(MOTIONS)] for number in range(num_clips)]
    rng.shuffle(motions)
    return np.stack([draw_clip(motion, rng) for motion in motions]), [motion.caption for motion in motions]


def seen_motion(clip_THWC: np.ndarray, palette: dict[str, tuple[int, int, int]] = COLOURS) -> Motion:
    """Return what a clip (uint8 RGB) shows: the nearest colour at its end, and where its saturated pixels went."""
    values = clip_THWC[[0, -1]].astype(np.float32)
    saturated = values.max(-1) - values.min(-1) > SATURATED
    if min(int(frame.sum()) for frame in saturated) < FEWEST:
        return Motion(_nearest(values[1][saturated[1]], palette), None)
    (y0, x0), (y1, x1) = (np.argwhere(frame).mean(0) for frame in saturated)
    dx, dy = x1 - x0, y1 - y0
    horizontal, vertical = ("right" if dx > 0 else "left"), ("down" if dy > 0 else "up")
    return Motion(_nearest(values[1][saturated[1]], palette), horizontal if abs(dx) > abs(dy) else vertical)


def _nearest(pixels_NC: np.ndarray, palette: dict[str, tuple[int, int, int]]) -> str | None:
    if len(pixels_NC) < FEWEST:
        return None
    mean = pixels_NC.mean(0)
    return min(palette, key=lambda name: float(np.abs(mean - np.array(palette[name])).sum()))
