"""Conversations about video in ChatML: from a LLaVA record to the segments, tokens and weights of a training sample.

Everything that decides how long a sample is and which of its tokens are supervised lives here, so that preflight,
plan, training, evaluation and inference cannot disagree. The engine only adds pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tao_runtime.data.facts import DatasetFacts, MediaKind, VisionGeometry
from tao_runtime.data.families import PromptOptions, Segment, Turn
from tao_runtime.data.vision import MediaLayout, SamplingPlan, lay_out

# Formats whose name ends so have a vision pair around all timestamps of a video, beside that of each step.
OUTER_PAIR = "outer-pair"

VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
VIDEO_PAD, IMAGE_PAD = "<|video_pad|>", "<|image_pad|>"
MEDIA_TOKENS = (VIDEO_PAD, IMAGE_PAD)
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
END_TOKENS = (TURN_END, "<|endoftext|>")  # what ends an answer

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
MEDIA_KEYS: dict[str, MediaKind] = {"video": "video", "videos": "video", "image": "image", "images": "image"}
MEDIA_TAG = re.compile(r"\n?<(video|image)>\n?")
THINK = re.compile(r"<think>.*?</think>\s*", re.DOTALL)

# Upper bounds for `bound_tokens`: "<|im_start|>assistant\n" ... "<|im_end|>\n", and "<12345.6 seconds>" + the pair.
TURN_OVERHEAD = 2 + len("assistant\n") + 1
STEP_OVERHEAD = len("<12345.6 seconds>") + 2


def read_turns(record: Mapping[str, object], conversation_key: str = "conversations") -> list[Turn]:
    """Return the turns of a record that passed the record rules."""
    turns = record[conversation_key]
    assert isinstance(turns, list)
    return [Turn(ROLES[str(turn["from"])], str(turn["value"])) for turn in turns]


def media_names(record: Mapping[str, object]) -> list[tuple[MediaKind, str]]:
    """Return (kind, path as written) of the media of a record, in order."""
    for key, kind in MEDIA_KEYS.items():
        value = record.get(key)
        if value:
            return [(kind, str(name)) for name in (value if isinstance(value, list) else [value])]
    return []


def question_of(turns: Iterable[Turn]) -> str:
    """Return the first user turn without media tags: what results.json calls the question."""
    return next((MEDIA_TAG.sub("", turn.text).strip() for turn in turns if turn.role == "user"), "")


def answer_of(turns: Iterable[Turn]) -> str:
    """Return the first assistant turn: the ground truth."""
    return next((turn.text for turn in turns if turn.role == "assistant"), "")


def _media_text(layout: MediaLayout, prompt_format: str) -> str:
    if layout.kind == "image":
        return VISION_START + IMAGE_PAD * layout.num_tokens + VISION_END
    pads = VISION_START + VIDEO_PAD * layout.tokens_per_step + VISION_END
    text = "".join(f"<{seconds:.1f} seconds>{pads}" for seconds in layout.timestamps_s)
    return VISION_START + text + VISION_END if prompt_format.endswith(OUTER_PAIR) else text


def _place_media(text: str, layouts: list[MediaLayout], prompt_format: str) -> str:
    """Replace each media tag by the next layout; what no tag asks for goes in front, as upstream's loader does."""
    pieces = MEDIA_TAG.split(text)
    out = [pieces[0]]
    for rest in pieces[2::2]:
        if layouts:
            out.append(_media_text(layouts.pop(0), prompt_format))
        out.append(rest)
    return "".join(out)


def render(
    turns: Sequence[Turn], layouts: Sequence[MediaLayout], options: PromptOptions, *, generate: bool = False
) -> list[Segment]:
    """Return the segments of a sample; with `generate`, the prompt up to where the first answer starts."""
    if options.system_prompt and not any(turn.role == "system" for turn in turns):
        turns = [Turn("system", options.system_prompt), *turns]
    left = list(layouts)
    tags = sum(len(MEDIA_TAG.findall(turn.text)) for turn in turns)
    front = [left.pop(0) for _ in range(max(0, len(left) - tags))]
    segments: list[Segment] = []
    prompt = ""
    for turn in turns:
        prompt += f"{TURN_START}{turn.role}\n"
        if turn.role == "assistant":
            if generate:
                break
            answer = THINK.sub("", turn.text) if options.response_mode == "answer" else turn.text
            segments += [Segment(prompt), Segment(answer + TURN_END, supervised=True)]
            prompt = "\n"
            continue
        if turn.role == "user" and front:
            prompt += "".join(_media_text(layout, options.prompt_format) for layout in front)
            front = []
        prompt += _place_media(turn.text, left, options.prompt_format) + TURN_END + "\n"
    else:
        if generate:
            prompt += f"{TURN_START}assistant\n"
    return [*segments, Segment(prompt)] if prompt else segments


def bound_tokens(
    dataset: DatasetFacts, record: int, *, sampling: SamplingPlan, geometry: VisionGeometry, system_prompt: str = ""
) -> tuple[int, int]:
    """Return (visual tokens, upper bound of all tokens) of a record, without its text being tokenised.

    Byte-level BPE never makes more tokens than there are UTF-8 bytes. Media that could not be probed count 0.
    """
    headers = (dataset.media[index] for index in dataset.columns.media_of(record))
    layouts = [lay_out(header, sampling, geometry) for header in headers if header is not None]
    visual = sum(layout.num_tokens for layout in layouts)
    steps = sum(layout.grid_thw[0] for layout in layouts)
    turns = int(dataset.columns.num_turns[record]) + bool(system_prompt)
    text = int(dataset.columns.text_bytes[record]) + len(system_prompt.encode())
    return visual, visual + text + turns * TURN_OVERHEAD + steps * STEP_OVERHEAD + 2 * len(layouts)
