"""A small general set: colour, count and direction of squares, as multiple choice. What no tuning should cost a model.

It is no benchmark: a model that sees answers nearly all of it, and one that was tuned until it sees no more, or answers
every question with its new vocabulary, shows it here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tao_runtime.data.paths import exists, make_folder, refuse_file
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.demo.clips import DIRECTIONS, FPS, draw_clip
from tao_runtime.engine.video_file import write_video
from tao_runtime.errors import InputError

PER_QUESTION = 120
ANNOTATIONS, MARK = "annotations.json", "general.json"  # the mark says whose the annotations are; they are written last
ENLARGED = 4  # of the demo's clips: 256 pixels, so that a square is some tokens wide
SIDE, CELLS = 256, 4  # of a picture; cells along a side, a square in each at most
COLOURS = {"red": (235, 50, 50), "green": (40, 200, 70), "blue": (50, 90, 235), "yellow": (245, 215, 50)}
COUNTS = ("one", "two", "three", "four")


@dataclass(frozen=True, slots=True)
class Topic:
    """One question, and what may be answered. Letters keep their meaning, so that a slice is one thing asked."""

    name: str
    media: str  # video or image
    asks: str
    options: Sequence[str]

    @property
    def question(self) -> str:
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", self.options, strict=True))
        return f"<{self.media}>\n{self.asks}\n{listed}\nAnswer with the letter."


TOPICS = (
    Topic("colour", "image", "Which colour is the square?", tuple(COLOURS)),
    Topic("count", "image", "How many squares are there?", COUNTS),
    Topic("direction", "video", "Which way does the square move?", DIRECTIONS),
)


def make_general_set(out: Path, *, per_question: int = PER_QUESTION, seed: int = 0) -> int:
    """Write `out`/annotations.json and its media; returns how many records. A complete set is left as it is.

    Raises InputError for a folder that holds another set, or annotations that were not made here.
    """
    refuse_file(out)
    mark = {"seed": seed, "per_question": per_question}
    if _is_there(out, mark):
        return per_question * len(TOPICS)
    make_folder(out / "media")
    rng, records, jobs = random.Random(seed), [], []
    for topic in TOPICS:
        for number in range(per_question):
            choice = number % len(topic.options)
            name = f"media/{topic.name}-{number:04d}" + (".mp4" if topic.media == "video" else ".png")
            jobs.append((out / name, _draw(topic, choice, rng)))
            records.append(_record(topic, name, "ABCD"[choice]))
    with ThreadPoolExecutor(2) as pool:  # encoding releases the GIL
        list(pool.map(lambda job: _write(*job), jobs))
    write_atomically(out / MARK, json.dumps(mark))
    write_atomically(out / ANNOTATIONS, json.dumps(records, indent=1))
    return len(records)


def _is_there(out: Path, mark: Mapping[str, int]) -> bool:
    """Tell whether a folder holds this very set, complete. Raises InputError where it holds something else."""
    if not (out / MARK).is_file():
        if exists(out / ANNOTATIONS):
            raise InputError(f"--out {out}: has {ANNOTATIONS} and no {MARK}, so another made it; want a new folder")
        return False
    try:
        held = json.loads((out / MARK).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"--out {out}: {MARK}: {error}; want a new folder") from error
    if held != mark:
        raise InputError(f"--out {out}: holds the general set of {held}; want {dict(mark)}, or a new folder")
    return exists(out / ANNOTATIONS)


def draw_picture(colour: str, count: int, rng: random.Random) -> np.ndarray:
    """Return HWC uint8 RGB: so many squares of one colour on grey, apart from each other."""
    picture_HWC = np.full((SIDE, SIDE, 3), 40, np.uint8)
    cell = SIDE // CELLS
    for place in rng.sample(range(CELLS * CELLS), count):
        size = rng.randint(cell // 2, cell - 8)
        row, column = (axis * cell + rng.randint(3, cell - size - 3) for axis in divmod(place, CELLS))
        picture_HWC[row : row + size, column : column + size] = COLOURS[colour]
    return picture_HWC


def _draw(topic: Topic, choice: int, rng: random.Random) -> np.ndarray:
    if topic.media == "video":
        return draw_clip(topic.options[choice], rng).repeat(ENLARGED, axis=1).repeat(ENLARGED, axis=2)
    if topic.name == "count":
        return draw_picture(rng.choice(list(COLOURS)), choice + 1, rng)
    return draw_picture(topic.options[choice], 1, rng)


def _write(path: Path, pixels: np.ndarray) -> None:
    if path.suffix == ".mp4":
        write_video(path, pixels, fps=FPS)
    else:
        Image.fromarray(pixels).save(path)


def _record(topic: Topic, name: str, letter: str) -> dict[str, object]:
    turns = [{"from": "human", "value": topic.question}, {"from": "gpt", "value": letter}]
    rate = {"video_fps": FPS} if topic.media == "video" else {}
    return {"id": Path(name).stem, topic.media: name, **rate, "conversations": turns}
