"""How much arithmetic a clip needs: multiplications and additions of a diffusion transformer, by its config.

Matrix products only, 2 for each weight and token; attention is quadratic in the tokens of one sample, however samples
are packed. tests/engine/test_clip_flops.py holds each against torch's own counter on the tiny networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

# (tokens of a clip, tokens of its text) -> FLOP of one forward pass.
ClipFlops = Callable[[int, int], float]


def dit_flops(config: Mapping[str, object], *, time_per_token: bool) -> ClipFlops | None:
    """Return the arithmetic of a DiT with self- and cross-attention and low-rank adaptive norms; None: config is short.

    time_per_token: frames have noise levels of their own, so that the norms are modulated token by token.

    Worked example, 2B (28 blocks of 2,048), 24 frames of 44 x 80 tokens = 84,480: 28 x (235e6 per token) = 0.56e15 for
    the blocks, their attention 28 x 4 x 2,048 x 84,480^2 = 1.64e15.
    """
    try:
        heads, head_dim = _int(config, "num_attention_heads"), _int(config, "attention_head_dim")
        layers = _int(config, "num_layers")
        text_width, low = _int(config, "text_embed_dim"), _int(config, "adaln_lora_dim")
        channels, out = _int(config, "in_channels"), _int(config, "out_channels")
        patch, ratio = config["patch_size"], config.get("mlp_ratio", 4.0)
    except KeyError:
        return None
    if not isinstance(patch, list | tuple) or not isinstance(ratio, int | float):
        return None
    width = heads * head_dim
    area = math.prod(int(side) for side in patch)
    per_token = 2.0 * width * width * (4 + 2) + 4.0 * width * (width * ratio)  # attention's six products, then the MLP
    per_text = 4.0 * text_width * width  # keys and values of the text
    modulation = 3 * (2.0 * width * low + 2.0 * low * 3 * width)
    ends = 2.0 * width * area * (channels + bool(config.get("concat_padding_mask", True)) + out)
    time = 2.0 * width * width + 2.0 * width * 3 * width  # of one noise level
    last = 2.0 * width * low + 2.0 * low * 2 * width  # modulation of the last norm

    def flops(tokens: int, text: int) -> float:
        rows = tokens if time_per_token else 1
        block = tokens * per_token + text * per_text + rows * modulation + 4.0 * width * tokens * (tokens + text)
        return layers * block + tokens * ends + rows * last + time

    return flops


def two_tower_flops(config: Mapping[str, object]) -> ClipFlops | None:
    """Return the arithmetic of two towers with joint attention, text causal, video seeing both; None: config is short.

    Worked example, Nano (36 layers of 4,096), a clip of 10,000 tokens with 200 of text: 36 x (385e6 per token) x 10,200
    = 0.14e15, attention 36 x 4 x 4,096 x 10,000 x 10,200 = 0.06e15.
    """
    get = partial(_int, config)
    try:
        layers, width, middle = map(get, ("num_hidden_layers", "hidden_size", "intermediate_size"))
        heads, kv_heads, head_dim = map(get, ("num_attention_heads", "num_key_value_heads", "head_dim"))
        patch = get("patch_latent_dim")
    except KeyError:
        return None
    gated = config.get("hidden_act", "silu") != "relu2"
    per_token = 2.0 * width * head_dim * (2 * heads + 2 * kv_heads) + 2.0 * (3 if gated else 2) * width * middle
    ends = 4.0 * patch * width + 2.0 * TIME_FEATURES * width + 2.0 * width * width  # each noisy token has its level

    def flops(tokens: int, text: int) -> float:
        seen = tokens * (tokens + text) + text * text  # a text is short: that it is causal saves next to nothing
        return layers * ((tokens + text) * per_token + 4.0 * heads * head_dim * seen) + tokens * ends

    return flops


TIME_FEATURES = 256  # of a noise level, before the network sees it


def _int(table: Mapping[str, object], name: str) -> int:
    value = table[name]
    if type(value) is not int:
        raise KeyError(name)
    return value
