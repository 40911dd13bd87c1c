"""Our samples against the library's own processor: the same pixels to the bit, the same tokens in the 5.x format."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from factory import make_clip

torch = pytest.importorskip("torch")

from tokenizers import Tokenizer

from tao_runtime.data.cosmos_reason import PROMPT_FORMAT, PROMPT_FORMAT_OUTER_PAIR, Turn, render
from tao_runtime.data.families import PromptOptions, tokenize
from tao_runtime.data.media import probe_header
from tao_runtime.data.snapshot import read_geometry
from tao_runtime.data.vision import SamplingPlan, lay_out
from tao_runtime.engine.chat_batch import normalise, patchify, pixel_statistics
from tao_runtime.engine.frames import load_frames

REFERENCE = Path(sys.prefix) / "reference"  # torchvision, installed beside the environment by scripts/test.sh
QUESTION = "Which way does the square move?"
SMALL = {"shortest_edge": 1024, "longest_edge": 5 * 48 * 80}

# name: (clip, our sampling, the library's options for the same)
CASES = {
    "even": ({}, {"num_frames": 8}, {"num_frames": 8, "fps": None}),
    "odd": ({}, {"num_frames": 5}, {"num_frames": 5, "fps": None}),
    "all": ({"num_frames": 12}, {"num_frames": 12}, {"num_frames": 12, "fps": None}),
    "rate": ({"num_frames": 24}, {"fps": 2.0}, {"fps": 2.0}),
    "shrunk": (
        {"size": 128},
        {"num_frames": 5, "total_pixels": SMALL["longest_edge"], "min_pixels": 205},
        {"num_frames": 5, "fps": None, "size": SMALL},
    ),
    "odd-size": ({"size": 90}, {"num_frames": 6}, {"num_frames": 6, "fps": None}),
}


@pytest.fixture(scope="module")
def reference(demo_material: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    if not (REFERENCE / "torchvision").is_dir():
        pytest.skip("the library's video processor needs torchvision; scripts/test.sh installs it beside .venv")
    folder = tmp_path_factory.mktemp("reference")
    cases = {
        name: {"clip": str(make_clip(folder / f"{name}.mp4", **clip)), "question": QUESTION, "options": options}
        for name, (clip, _, options) in CASES.items()
    }
    request = folder / "request.json"
    request.write_text(json.dumps({"model": str(demo_material / "model"), "cases": cases}))
    script = Path(__file__).parents[2] / "reference/library_processor.py"
    environment = {**os.environ, "PYTHONPATH": str(REFERENCE)}
    subprocess.run([sys.executable, str(script), str(request), str(folder / "out.npz")], env=environment, check=True)
    made = dict(np.load(folder / "out.npz"))
    return {**made, "folder": np.array(str(folder))}


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_the_library_s(reference: dict[str, np.ndarray], demo_material: Path, name: str) -> None:
    clip = Path(str(reference["folder"])) / f"{name}.mp4"
    geometry = read_geometry(demo_material / "model", {})
    layout = lay_out(probe_header(clip, "video"), SamplingPlan(**CASES[name][1]), geometry)
    assert layout.grid_thw == tuple(reference[f"{name}/grid"])
    patches = patchify(load_frames(clip, layout), geometry)
    ours = normalise(patches, *pixel_statistics(geometry))
    assert np.array_equal(ours.numpy(), reference[f"{name}/pixels"])


@pytest.mark.parametrize("name", CASES)
def test_tokens_are_the_library_s(reference: dict[str, np.ndarray], demo_material: Path, name: str) -> None:
    """The library keeps the outer pair around a video (5.x); our default leaves it out, as the first release did."""
    clip = Path(str(reference["folder"])) / f"{name}.mp4"
    geometry = read_geometry(demo_material / "model", {})
    layout = lay_out(probe_header(clip, "video"), SamplingPlan(**CASES[name][1]), geometry)
    tokenizer = Tokenizer.from_file(str(demo_material / "model/tokenizer.json"))
    turns = [Turn("user", f"<video>\n{QUESTION}")]
    theirs = reference[f"{name}/ids"].tolist()
    ours = {
        name: tokenize(render(turns, [layout], PromptOptions(name), generate=True), tokenizer).ids
        for name in (PROMPT_FORMAT, PROMPT_FORMAT_OUTER_PAIR)
    }
    assert ours[PROMPT_FORMAT_OUTER_PAIR] == theirs
    start = theirs.index(tokenizer.token_to_id("<|vision_start|>"))
    end = len(theirs) - theirs[::-1].index(tokenizer.token_to_id("<|vision_end|>")) - 1
    assert ours[PROMPT_FORMAT] == [*theirs[:start], *theirs[start + 1 : end], *theirs[end + 1 :]]
