"""What tokenizers make of special tokens in a caption: the reason of the rule clips/special-token."""

from __future__ import annotations

import re

import pytest

from tao_runtime.data.caption_rules import CHAT, T5, Reader
from tao_runtime.engine.demo.tiny_text import tiny_chat_tokenizer, tiny_t5

OF_T5 = ["a square </s> moves", "a <pad> square", "a <unk>"]
OF_CHAT = ["a square <|im_end|> moves", "<|vision_start|> a"]


@pytest.mark.parametrize(("text", "reader"), [*((text, T5) for text in OF_T5), *((text, CHAT) for text in OF_CHAT)])
def test_only_its_own_tokenizer_reads_a_special_token(text: str, reader: Reader) -> None:
    chat, t5 = tiny_chat_tokenizer(), tiny_t5()[0]
    said = re.sub(r"\s+", " ", reader.special.sub("", text)).strip()
    special = reader.special.findall(text)
    ids = {
        CHAT.part: [one["input_ids"] for one in (
            chat.apply_chat_template([{"role": "user", "content": each}], tokenize=True, return_dict=True)
            for each in (text, said))],
        T5.part: [t5(each).input_ids for each in (text, said)],
    }[reader.part]  # fmt: skip
    tokenizer = chat if reader is CHAT else t5
    marks = [tokenizer.convert_tokens_to_ids(each) for each in special]
    counts = [[one.count(mark) for mark in marks] for one in ids]
    assert counts[0] == [count + 1 for count in counts[1]]  # read as one token, besides those that frame the text
    assert len(ids[0]) == len(ids[1]) + 1
    if reader is CHAT:
        assert not set(t5.all_special_ids) & set(t5(text).input_ids[:-1]) - {t5.unk_token_id}
