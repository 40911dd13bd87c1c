"""What the model reads: both prompt formats letter by letter, media, turns, answers, and the bound on their tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from factory import make_clip, write_annotations
from tao_runtime.data.cosmos_reason import (
    END_TOKENS,
    PROMPT_FORMAT,
    PROMPT_FORMAT_OUTER_PAIR,
    answer_of,
    bound_tokens,
    media_names,
    question_of,
    read_turns,
    render,
)
from tao_runtime.data.facts import VisionGeometry
from tao_runtime.data.families import PromptOptions, Segment, Turn, tokenize
from tao_runtime.data.probe import probe_dataset
from tao_runtime.data.vision import MediaLayout, SamplingPlan, lay_out
from tao_runtime.spec.base import DatasetRef

CLIP = MediaLayout("video", (0, 4, 8, 12), 32, 64, (2, 2, 4), 2, (0.25, 1.25))
PICTURE = MediaLayout("image", (0,), 32, 32, (1, 2, 2), 1, ())
PLAIN = PromptOptions(PROMPT_FORMAT)
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
STEP = "<|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
VIDEO = f"<0.2 seconds>{STEP}<1.2 seconds>{STEP}"
SPECIALS = [f"<|{name}|>" for name in ("im_start", "im_end", "vision_start", "vision_end", "video_pad", "image_pad")]


def user(text: str) -> Turn:
    return Turn("user", text)


def answer(text: str) -> Turn:
    return Turn("assistant", text)


def text_of(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def learned(segments: list[Segment]) -> list[str]:
    return [segment.text for segment in segments if segment.supervised]


def test_the_first_format_letter_by_letter() -> None:
    segments = render([user("<video>\nWhich way?"), answer("left")], [CLIP], PLAIN)
    assert PROMPT_FORMAT == "qwen3_vl/timestamps"
    assert text_of(segments) == (
        "<|im_start|>user\n"
        "<0.2 seconds><|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
        "<1.2 seconds><|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
        "Which way?<|im_end|>\n<|im_start|>assistant\nleft<|im_end|>\n"
    )
    assert learned(segments) == ["left<|im_end|>"]


def test_the_second_format_letter_by_letter() -> None:
    options = PromptOptions(PROMPT_FORMAT_OUTER_PAIR)
    segments = render([user("<video>\nWhich way?"), answer("left")], [CLIP], options)
    assert PROMPT_FORMAT_OUTER_PAIR == "qwen3_vl/timestamps-outer-pair"
    assert text_of(segments) == (
        "<|im_start|>user\n<|vision_start|>"
        "<0.2 seconds><|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
        "<1.2 seconds><|vision_start|><|video_pad|><|video_pad|><|vision_end|>"
        "<|vision_end|>Which way?<|im_end|>\n<|im_start|>assistant\nleft<|im_end|>\n"
    )


def test_an_image_is_the_same_in_both_formats() -> None:
    turns = [user("<image>\nWhat?"), answer("a")]
    one, other = (render(turns, [PICTURE], PromptOptions(name)) for name in (PROMPT_FORMAT, PROMPT_FORMAT_OUTER_PAIR))
    assert (
        text_of(one)
        == text_of(other)
        == (f"<|im_start|>user\n{IMAGE}What?<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n")
    )


def test_every_answer_of_a_conversation_is_learned() -> None:
    turns = [user("<video>\none?"), answer("1"), user("two?"), answer("2")]
    segments = render(turns, [CLIP], PLAIN)
    assert learned(segments) == ["1<|im_end|>", "2<|im_end|>"]
    assert text_of(segments).endswith(
        "1<|im_end|>\n<|im_start|>user\ntwo?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
    )


@pytest.mark.parametrize(
    ("turns", "layouts", "shown"),
    [
        (["A\n<image>\nB<video>C"], [PICTURE, CLIP], [f"A{IMAGE}B{VIDEO}C"]),  # where the tags are, in order
        (["A"], [CLIP], [f"{VIDEO}A"]),  # no tag: in front
        (["A<image>"], [PICTURE, PICTURE], [f"{IMAGE}A{IMAGE}"]),  # one tag too few: the first goes in front
        (["A", "B<image>"], [PICTURE, PICTURE], [f"{IMAGE}A", f"B{IMAGE}"]),
        (["A", "<image>B"], [PICTURE], ["A", f"{IMAGE}B"]),
        (["<video>A<video>"], [CLIP], [f"{VIDEO}A"]),  # one tag too many: it goes away
    ],
)
def test_media_go_where_their_tags_are(turns: list[str], layouts: list[MediaLayout], shown: list[str]) -> None:
    conversation = [turn for text in turns for turn in (user(text), answer("x"))]
    text = text_of(render(conversation, layouts, PLAIN))
    assert [part.split("<|im_end|>")[0] for part in text.split("<|im_start|>user\n")[1:]] == shown


def test_the_system_turn_of_a_record_goes_before_that_of_the_spec() -> None:
    options = PromptOptions(PROMPT_FORMAT, "from the spec")
    without = text_of(render([user("?"), answer("a")], [], options))
    assert without.startswith("<|im_start|>system\nfrom the spec<|im_end|>\n<|im_start|>user\n?")
    own = text_of(render([Turn("system", "its own"), user("?"), answer("a")], [], options))
    assert own.startswith("<|im_start|>system\nits own<|im_end|>\n<|im_start|>user\n?")
    assert "from the spec" not in own


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("answer", "left<|im_end|>"), ("think", "<think>\nit moves\n</think>\n\nleft<|im_end|>"),
     ("hybrid", "<think>\nit moves\n</think>\n\nleft<|im_end|>")],
)  # fmt: skip
def test_response_mode(mode: str, kept: str) -> None:
    options = PromptOptions(PROMPT_FORMAT, response_mode=mode)
    turns = [user("?"), answer("<think>\nit moves\n</think>\n\nleft")]
    assert learned(render(turns, [], options)) == [kept]
    assert learned(render([user("?"), answer("left")], [], options)) == ["left<|im_end|>"]


@pytest.mark.parametrize("turns", [[user("<video>\n?"), answer("a"), user("b?"), answer("b")], [user("<video>?")]])
def test_a_prompt_ends_where_the_first_answer_starts(turns: list[Turn]) -> None:
    [prompt] = render(turns, [CLIP], PromptOptions(PROMPT_FORMAT, "s"), generate=True)
    assert prompt.text.endswith("?<|im_end|>\n<|im_start|>assistant\n")
    assert prompt.text.count("<|im_start|>assistant") == 1
    assert not prompt.supervised


WORDS = st.text(st.characters(codec="utf-8"), max_size=30)
PIECES = st.sampled_from(["<video>", "<image>\n", "<think>a</think>", "ß", "日本", "hello ", "\n"])
TEXTS = st.lists(PIECES | WORDS, max_size=6).map("".join)


@given(
    pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3),
    layouts=st.lists(st.sampled_from([CLIP, PICTURE]), max_size=3),
    system=st.sampled_from(["", "Be brief."]),
    name=st.sampled_from([PROMPT_FORMAT, PROMPT_FORMAT_OUTER_PAIR]),
    mode=st.sampled_from(["answer", "think", "hybrid"]),
)
def test_a_prompt_is_the_start_of_its_training_text(
    pairs: list[tuple[str, str]], layouts: list[MediaLayout], system: str, name: str, mode: str
) -> None:
    turns = [turn for asked, told in pairs for turn in (user(asked), answer(told))]
    options = PromptOptions(name, system, response_mode=mode)
    [prompt] = render(turns, layouts, options, generate=True)
    training = render(turns, layouts, options)
    assert text_of(training).startswith(prompt.text)
    assert training[0].text == prompt.text, "cut at the same place, so that it is tokenised alike"
    assert all(text.endswith(END_TOKENS[0]) for text in learned(training))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A real byte-level BPE with merges, as small as one can be."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(["hello user assistant <1.2 seconds> Which way does the square move?"] * 20, trainer)
    bpe.add_special_tokens(SPECIALS)
    return bpe


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("media")
    for number, frames in enumerate((1, 5, 40)):
        make_clip(root / f"{number}.mp4", num_frames=frames, seed=number)
    return root


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3),
    clips=st.lists(st.integers(0, 2), max_size=3),
    system=WORDS,
    name=st.sampled_from([PROMPT_FORMAT, PROMPT_FORMAT_OUTER_PAIR]),
    fps=st.sampled_from([1.0, 2.0, 8.0]),
)
def test_the_bound_holds(
    media: Path,
    tokenizer: Tokenizer,
    pairs: list[tuple[str, str]],
    clips: list[int],
    system: str,
    name: str,
    fps: float,
) -> None:
    turns = [{"from": who, "value": text} for pair in pairs for who, text in zip(("human", "gpt"), pair, strict=True)]
    turns[0]["value"] = "<video>" * len(clips) + turns[0]["value"]
    record: dict[str, Any] = {"id": "0", "video_fps": 8, "conversations": turns}
    if clips:
        record["videos"] = [f"{number}.mp4" for number in clips]
    write_annotations(media, [record])
    dataset = probe_dataset(DatasetRef("train", str(media), "", "annotation", "media"))
    sampling, geometry = SamplingPlan(fps=fps), VisionGeometry(video_min_pixels=1024)
    layouts = [lay_out(header, sampling, geometry) for header in dataset.media if header]
    assert len(layouts) == len(set(clips))
    seen = [layouts[int(index)] for index in dataset.columns.media_of(0)]
    segments = render(read_turns(record), seen, PromptOptions(name, system))
    visual, most = bound_tokens(dataset, 0, sampling=sampling, geometry=geometry, system_prompt=system)
    assert len(tokenize(segments, tokenizer)) <= most
    assert visual == sum(layout.num_tokens for layout in seen)


def test_weight_is_the_supervised_tokens_that_are_predicted(tokenizer: Tokenizer) -> None:
    tokens = tokenize(render([user("?"), answer("hello")], [], PLAIN), tokenizer)
    alone = tokenizer.encode("hello<|im_end|>", add_special_tokens=False).ids
    assert tokens.weight == sum(tokens.supervised) == len(alone)
    at = tokens.supervised.index(True)
    assert tokens.ids[at : at + len(alone)] == alone, "an answer is tokenised as the model would generate it"
    assert tokenize([Segment("hello", supervised=True)], tokenizer).weight == len(alone) - 2


@pytest.mark.parametrize(
    ("record", "names"),
    [
        ({"video": "a.mp4"}, [("video", "a.mp4")]),
        ({"videos": ["a.mp4", "b.mp4"]}, [("video", "a.mp4"), ("video", "b.mp4")]),
        ({"image": ["a.png", "b.png"]}, [("image", "a.png"), ("image", "b.png")]),
        ({"images": ["a.png"]}, [("image", "a.png")]),
        ({"video": "", "image": "a.png"}, [("image", "a.png")]),
        ({}, []),
    ],
)
def test_media_names(record: dict[str, object], names: list[tuple[str, str]]) -> None:
    assert media_names(record) == names


def test_question_and_ground_truth() -> None:
    said = [("system", "s"), ("human", "<video>\n Why? "), ("gpt", "a"), ("user", "q"), ("gpt", "b")]
    record = {"turns": [{"from": who, "value": text} for who, text in said]}
    turns = read_turns(record, "turns")
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert (question_of(turns), answer_of(turns)) == ("Why?", "a")
    assert (question_of([]), answer_of([])) == ("", "")
