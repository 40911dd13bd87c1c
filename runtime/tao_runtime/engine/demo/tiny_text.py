"""Tiny text models for demos and tests: a T5 encoder with its tokenizer, and a tokenizer with a chat template.

Their weights are random, their words are those of the clips: a random encoder tells words apart, which is all that
captions of two free words need.
"""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel, T5Tokenizer

from tao_runtime.engine.demo.captioned_clips import COLOURS, STEPS

WORDS = ("a", "square", "moves", "the", "video", "is", "of", "still", *COLOURS, *STEPS, "magenta")
CHAT_WORDS = ("seconds", "long", "and", "FPS", "This", "The", "resolution", "not", "user", "assistant", "system")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<unk>")
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + ' ' + m['content'] + '<|im_end|> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant ' }}{% endif %}"
)


def tiny_t5(*, width: int = 32, max_tokens: int = 512, seed: int = 7) -> tuple[T5Tokenizer, T5EncoderModel]:
    """Return a tokenizer of whole words and a random encoder of two layers; states are `width` wide.

    max_tokens: what the tokenizer says of the longest text, which training pads to.
    """
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [("\u2581" + word, -2.0) for word in WORDS] + [("\u2581", -3.0)]
    pieces += [(letter, -8.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789.,"]
    config = T5Config(
        vocab_size=len(pieces) + 8,
        d_model=width,
        d_ff=2 * width,
        d_kv=8,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = T5EncoderModel(config)
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=max_tokens), encoder.eval().requires_grad_(False)


def tiny_chat_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words with a chat template and the start-of-vision token."""
    words = dict.fromkeys([*SPECIAL, *WORDS, *CHAT_WORDS, *"0123456789.x"])
    model = models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(True)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|vision_start|>"],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
