"""The demo of the reasoner in the structured dialect: clips that fall, or do not, scored from 1 to 5.

The layout is that of VideoPhy-2, the model the tiny one of the other reasoner's demo.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path
from typing import Final

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from tao_runtime.data.paths import make_folder
from tao_runtime.deft.table import interval
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.demo.clips import COLOURS, FPS, FRAMES, SIZE
from tao_runtime.engine.demo.cosmos_reason import make_snapshot
from tao_runtime.engine.demo.once import run_once
from tao_runtime.engine.video_file import write_video
from tao_runtime.score.interval import Estimate, proportion
from tao_runtime.score.results import read_results

QUESTION: Final = "<video>\nHow plausible is this fall, from 1 to 5?"
SCORES: Final = (1, 2, 3, 4, 5)  # 5 falls; 4 stops half way; 3 drifts; 2 hangs, then rises; 1 rises
SETS: Final[Mapping[str, tuple[int, int]]] = {"videophy2_train": (100, 1), "videophy2_val": (20, 2)}  # clips, seed
BASE, RUNS = Path("model"), Path("runs/demo/tiny")
TRAIN: Final = f"""\
[job]
task = "vlm"
output_root = "runs"
project = "demo"
group = "tiny"
name = "train"

[model]
precision = "float32"
backbone = {{ model_name = "{BASE}" }}
activation_checkpointing = {{ mode = "none" }}

[optimizer]
lr = 1e-3
betas = [0.9, 0.98]
fused = false

[scheduler]
warm_up_steps = [20]
cycle_lengths = [200]
f_start = [0.05]
f_max = [1.0]
f_min = [0.05]

[trainer]
max_iter = 200
logging_iter = 10

[checkpoint]
save_iter = 100

[dataloader_train]
dataset_path = "videophy2_train"
dataset_format = "videophy2"
max_samples_per_batch = 16
max_sequence_length = 4096
num_workers = 1
"""
EVALUATE: Final = """\
[job]
task = "vlm"
output_root = "runs"
project = "demo"
group = "tiny"
name = "{name}"

[model]
path = "{model}"
precision = "float32"
max_length = 4096

[dataset]
dataset_path = "videophy2_val"
dataset_format = "videophy2"

[evaluate]
max_tokens = 4
batch_size = 50
"""


def prepare(out: Path, *, share: float = 1.0) -> None:
    """Write model/, both splits and the specs into `out`, unless they are there. `share` of the clips may be enough."""
    make_folder(out)
    make_snapshot(out / BASE)
    for name, (per_score, seed) in SETS.items():
        count = make_split(out / name, max(2, round(per_score * share)), seed)
        print(f"{out / name}: {count} clips, scored 1 to 5")
    write_atomically(out / "train.toml", TRAIN)
    for name, model in (("base", BASE), ("trained", RUNS / "train/export/model")):
        write_atomically(out / f"evaluate-{name}.toml", EVALUATE.format(name=name, model=model))


def run(out: Path) -> None:
    """Train, let the base and the export score the clips of the validation split, and print both."""
    console = Console()
    table = Table("weights", "steps", "right score", "within one", "seconds", box=box.SIMPLE_HEAD)
    with chdir(out):
        console.rule("train on videophy2_train")
        trained = run_once(Path("train.toml"), "train", RUNS / "train")
        for name, steps, spent in (("base", 0, 0.0), ("trained", trained["steps"], trained["seconds"])):
            console.rule(f"evaluate: {name}")
            run_once(Path(f"evaluate-{name}.toml"), "evaluate", RUNS / name)
            right, near = scored(RUNS / name / "results.json")
            table.add_row(name, str(steps), interval(right), interval(near), f"{spent:.0f}")
    console.print(table)
    console.print(f"everything is in {out}: clips, model, plans, metrics, checkpoints, export, results")


def scored(results: Path) -> tuple[Estimate, Estimate]:
    """Return the share of answers that are the score, and of those at most one away. What is no score is wrong."""
    pairs = [((row.response or "").strip(), int(row.gt)) for row in read_results(results)]
    apart = [abs(int(said) - truth) if said in map(str, SCORES) else len(SCORES) for said, truth in pairs]
    return proportion(apart.count(0), len(apart)), proportion(sum(each <= 1 for each in apart), len(apart))


def make_split(folder: Path, per_score: int, seed: int) -> int:
    """Write meta.json, media/ and text/ of a split; returns how many clips. A complete one is left as it is."""
    scores = list(SCORES) * per_score
    if (folder / "meta.json").is_file():
        return len(scores)
    for name in ("media", "text"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    rng.shuffle(scores)
    names = [f"{folder.name}-{number:04d}" for number in range(len(scores))]
    drawn = [(folder / f"media/{name}.mp4", draw_clip(score, rng)) for name, score in zip(names, scores, strict=True)]
    with ThreadPoolExecutor(2) as pool:  # encoding releases the GIL
        list(pool.map(lambda item: write_video(*item, fps=FPS), drawn))
    for name, score in zip(names, scores, strict=True):
        turns = [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": str(score)}]
        write_atomically(folder / f"text/{name}.json", json.dumps({"conversations": turns}))
    write_atomically(folder / "meta.json", json.dumps([{"id": name} for name in names]))
    return len(scores)


def draw_clip(score: int, rng: random.Random) -> np.ndarray:
    """Return a clip as THWC uint8 RGB: a coloured square whose way over the picture deserves `score`."""
    side = SIZE // 4
    free = SIZE - side
    across, colour = round(rng.uniform(0, free)), COLOURS[rng.randrange(len(COLOURS))]
    clip_THWC = np.zeros((FRAMES, SIZE, SIZE, 3), np.uint8)
    for number in range(FRAMES):
        along = round(free * height(score, number / (FRAMES - 1)))
        row, column = (across, along) if score == 3 else (along, across)
        clip_THWC[number, row : row + side, column : column + side] = colour
    return clip_THWC


def height(score: int, time: float) -> float:
    """Return how far down (sideways for 3) the square is, in [0, 1], at a time in [0, 1]."""
    return {1: 1 - time, 2: min(1.0, 1.5 - time), 3: time, 4: min(0.5, time), 5: time}[score]
