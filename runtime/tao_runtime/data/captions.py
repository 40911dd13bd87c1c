"""The caption of a window: structured JSON as it stands, or a sentence with its duration and size."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tao_runtime.data.llava import is_silent

STRUCTURED: Final = "caption_json"
PLAIN: Final = "caption"
KEYS: Final = (STRUCTURED, PLAIN)
_TAG: Final = re.compile(r"</?(?:think|answer)>")
_MARKS: Final = '{}[]":,. \n\r\t'
PROMPT_FORMAT: Final = "video/json-or-sentence"


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption as its record gives it. Structured ones are written the same in training and inference."""

    text: str
    structured: bool

    def prompt(self, *, num_frames: int, fps: float, height: int, width: int) -> str:
        """Return the text that the model reads (`sft_dataset.py:66-95,312-321` of the framework)."""
        if self.structured:
            return self.text
        duration = f"The video is {num_frames / fps:.1f} seconds long and is of {fps:.0f} FPS."
        return f"{self.text} {duration} This video is of {height}x{width} resolution."


def caption_of(window: Mapping[str, object]) -> Caption | None:
    """Return the caption of a window; the structured one first. None: it has none, or one that says nothing."""
    for key in KEYS:
        value = window.get(key)
        if isinstance(value, Mapping) and _has_content(value):
            return Caption(json.dumps(value, ensure_ascii=False), structured=True)
        if isinstance(value, str) and not says_nothing(value):
            text = value.strip()
            return Caption(text, True) if key == STRUCTURED else Caption(text.rstrip(".") + ".", False)
        if key in window:
            return None  # given and empty: upstream takes this one too, and trains on nothing
    return None


def says_nothing(text: str) -> bool:
    """Tell whether a caption is blanks, characters without a form, marks, or reasoning and its tags alone."""
    if text[:1].isalnum():  # the usual case
        return False
    said = text.strip(_MARKS)
    return is_silent(said) or ("<" in said and is_silent(_TAG.sub("", said)))


def _has_content(value: object) -> bool:
    """Tell whether anything inside a structured caption is more than an empty text."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, Mapping):
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
        elif item is not None and not (isinstance(item, str) and says_nothing(item)):
            return True
    return False
