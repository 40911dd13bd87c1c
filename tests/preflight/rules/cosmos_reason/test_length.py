"""The length bounds: equal to those of the data floor, around the exact count, and exact where a tokenizer is here."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from factory import make_clip, make_dataset, make_image, make_record, make_snapshot, write_annotations
from tao_runtime.data.cosmos_reason import PROMPT_FORMATS, bound_tokens
from tao_runtime.data.families import PromptOptions
from tao_runtime.data.probe import probe_dataset
from tao_runtime.data.snapshot import probe_model
from tao_runtime.data.vision import SamplingPlan
from tao_runtime.preflight.rules.cosmos_reason.length import (
    Limit,
    Samples,
    bounds,
    count_tokens,
    load_tokenizer,
    too_long,
)
from tao_runtime.spec.base import DatasetRef, ModelRef


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Samples:
    """Clips of several sizes, pictures, text only, several turns, text that is not ASCII."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = make_dataset(tmp_path / "data", 2)
    make_clip(root / "large.mp4", size=256, num_frames=33)
    make_image(root / "a.png", width=500, height=80)
    said = [
        ("system", "Be brief."),
        ("human", "<image>\nWas ist das? é"),
        ("gpt", "ein Bild"),
        ("human", "sure?"),
        ("gpt", "y"),
    ]
    turns = [{"from": role, "value": text} for role, text in said]
    records = [make_record(0), make_record(1, "large.mp4", answer="ü" * 50),
               make_record(2, video=None, video_fps=None, image="a.png", conversations=turns),
               make_record(3, video=None, video_fps=None, conversations=turns[3:]),
               make_record(4, video=["clip_0.mp4", "large.mp4"])]  # fmt: skip
    write_annotations(root, records)
    dataset = probe_dataset(DatasetRef("train", str(root), "", "a", "m"))
    model = probe_model(ModelRef("model", str(make_snapshot(tmp_path / "model")), "k"))
    prompt = PromptOptions(PROMPT_FORMATS[0], "You are a driver. ß")
    return Samples(dataset, SamplingPlan(num_frames=8), model.geometry, prompt)


def test_upper_bound_is_that_of_the_data_floor(mixed: Samples) -> None:
    _, upper = bounds(mixed)
    system = mixed.prompt.system_prompt
    one_by_one = [
        bound_tokens(mixed.dataset, i, sampling=mixed.sampling, geometry=mixed.geometry, system_prompt=system)[1]
        for i in range(5)
    ]
    assert upper.tolist() == one_by_one


@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS)
@pytest.mark.parametrize("generate", [False, True])
def test_exact_count_lies_between_the_bounds(
    mixed: Samples, tmp_path: Path, prompt_format: str, generate: bool
) -> None:
    prompt = PromptOptions(prompt_format, mixed.prompt.system_prompt)
    samples = Samples(mixed.dataset, mixed.sampling, mixed.geometry, prompt, generate)
    tokenizer = load_tokenizer(probe_model(ModelRef("model", str(tmp_path / "model"), "k")))
    lower, upper = bounds(samples)
    exact = count_tokens(samples, list(range(5)), tokenizer)
    assert (lower <= exact).all()
    assert (exact <= upper).all()


def test_with_a_tokenizer_one_token_decides(mixed: Samples, tmp_path: Path) -> None:
    model = probe_model(ModelRef("model", str(tmp_path / "model"), "k"))
    longest = int(count_tokens(mixed, list(range(5)), load_tokenizer(model)).max())
    assert list(too_long(mixed, Limit(longest, "k", "p"), model)) == []
    (problem,) = too_long(mixed, Limit(longest - 1, "k", "p"), model)
    assert f"{longest:,} tokens" in problem.saw


def test_what_would_fit_instead_fits_and_is_the_most_that_does(mixed: Samples, tmp_path: Path) -> None:
    """With two samples of a knob: what is proposed gives no finding, one frame more gives one."""
    model = probe_model(ModelRef("model", str(tmp_path / "model"), "k"))
    tokenizer = load_tokenizer(model)
    videos = replace(mixed, sampling=SamplingPlan(num_frames=8))
    longest = int(count_tokens(videos, list(range(5)), tokenizer).max())
    limit = Limit(longest - 1, "k", "vision.total_pixels")
    (problem, *_) = too_long(videos, limit, model)
    proposed = re.search(r"vision\.nframes to (\d+)", str(problem.fix))
    assert proposed, problem.fix
    frames = int(proposed[1])
    fewer, more = (replace(mixed, sampling=SamplingPlan(num_frames=count)) for count in (frames, frames + 1))
    assert list(too_long(fewer, limit, model)) == []
    assert list(too_long(more, limit, model)) != []


def test_no_number_of_frames_makes_a_long_text_short(mixed: Samples) -> None:
    (problem, *_) = too_long(mixed, Limit(1, "k", "p"), None)
    assert "shorten the text" in (str(problem.fix))


def test_without_a_tokenizer_a_possible_overrun_is_a_warning(mixed: Samples) -> None:
    _, upper = bounds(mixed)
    (problem,) = too_long(mixed, Limit(int(upper.max()) - 1, "k", "p"), None)
    assert problem.severity == "warning"
    assert "1 records may be longer than" in problem.saw


def test_worst_five_are_named_longest_first(mixed: Samples) -> None:
    problems = list(too_long(mixed, Limit(1, "k", "p"), None))
    tokens = [int(problem.saw.split()[0].replace(",", "")) for problem in problems]
    assert len(problems) == 5
    assert tokens == sorted(tokens, reverse=True)


def test_broken_tokenizer_is_none(tmp_path: Path) -> None:
    root = make_snapshot(tmp_path)
    (root / "tokenizer.json").write_text("{]")
    assert load_tokenizer(probe_model(ModelRef("model", str(root), "k"))) is None
