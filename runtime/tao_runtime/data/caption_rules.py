"""Rules about the text of a clip's caption: no marks of the tokenizer that reads it, and valid Unicode."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tao_runtime.data.fold import At, Collector, declare, quote
from tao_runtime.data.llava import NOT_TEXT, SPECIAL, SURROGATE

SPECIAL_TOKEN = declare(
    "clips/special-token",
    "error",
    "No special token of its tokenizer in a caption: <|im_end|> where it is a turn of a chat, </s> where T5 reads it.",
    source="a tokenizer reads its special tokens wherever they stand: they end the turn or the text, or stand for a "
    "medium; another tokenizer's are plain text to it",
)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads the captions of a layout: its special tokens, what stands in each, how else to write them."""

    special: re.Pattern[str]
    part: str
    instead: str


CHAT: Final = Reader(SPECIAL, "<|", "write &lt;| and |&gt;, or take it out")
T5: Final = Reader(re.compile(r"</s>|<pad>|<unk>|<extra_id_\d+>"), "<", "write &lt; and &gt;, or take it out")


def judge_caption(text: str, reader: Reader, findings: Collector, at: At) -> None:
    """Report what the tokenizer of a caption would stumble over, or take for something else than its text."""
    if not text.isascii() and (found := SURROGATE.search(text)):
        fix, want = "write U+FFFD in its place", "text without lone surrogates"
        findings.add(NOT_TEXT, quote(text[max(0, found.start() - 20) :]), want, at=at, fix=fix)
    if reader.part in text and (found := reader.special.search(text)):
        findings.add(SPECIAL_TOKEN, found.group(), "plain text", at=at, fix=reader.instead)
