"""Names of the Wan 2.2 autoencoder's own checkpoint (Wan2.2_VAE.pth) and of AutoencoderKLWan.

A stage of the original is one list: residual blocks, then the resampling, which is third on the way down (two blocks)
and fourth on the way up (three).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

FIELD = re.compile(r"\{(\w+)\}")
PATTERNS = {"i": r"\d+", "leaf": r".+"}  # a block's number; the rest of a name, also of an adapter's


@dataclass(frozen=True, slots=True)
class NameMap:
    """A bijection between two vocabularies of names, as pairs of templates with `{i}` and `{leaf}`."""

    pairs: Sequence[tuple[str, str]]  # original, diffusers
    dropped: re.Pattern[str]  # original names without counterpart: counters, buffers, parts of the objective
    prefixes: Sequence[str]  # that an original name may begin with; the first is written

    def to_diffusers(self, name: str) -> str | None:
        """Return the name in diffusers; None for a tensor that the network has not.

        Raises:
            KeyError: the name is of neither kind.
        """
        for prefix in self.prefixes:
            if name.startswith(prefix):
                name = name[len(prefix) :]
                break
        if self.dropped.search(name):
            return None
        return _translate(name, self.pairs)

    def to_original(self, name: str) -> str:
        """Return the original name, with its prefix.

        Raises:
            KeyError: the network has no such name.
        """
        return self.prefixes[0] + _translate(name, [(ours, original) for original, ours in self.pairs])


def _translate(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    for source, target in pairs:
        if match := _compiled(source).fullmatch(name):
            return target.format(**match.groupdict())
    raise KeyError(name)


def _compiled(template: str) -> re.Pattern[str]:
    parts = FIELD.split(template)  # text, field, text, field, ...
    text = [f"(?P<{part}>{PATTERNS[part]})" if number % 2 else re.escape(part) for number, part in enumerate(parts)]
    return re.compile("".join(text))


RESIDUAL = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
STAGES = (
    ("encoder.downsamples.{i}.downsamples", "encoder.down_blocks.{i}", "downsampler", 2),
    ("decoder.upsamples.{i}.upsamples", "decoder.up_blocks.{i}", "upsampler", 3),
)


def _pairs() -> Iterator[tuple[str, str]]:
    for original, ours, resampling, blocks in STAGES:
        for number in range(blocks):
            for part, name in RESIDUAL.items():
                yield f"{original}.{number}.{part}.{{leaf}}", f"{ours}.resnets.{number}.{name}.{{leaf}}"
        yield f"{original}.{blocks}.{{leaf}}", f"{ours}.{resampling}.{{leaf}}"
    for half in ("encoder", "decoder"):
        for number, block in ((0, 0), (2, 1)):
            for part, name in RESIDUAL.items():
                yield f"{half}.middle.{number}.{part}.{{leaf}}", f"{half}.mid_block.resnets.{block}.{name}.{{leaf}}"
        yield f"{half}.middle.1.{{leaf}}", f"{half}.mid_block.attentions.0.{{leaf}}"
        yield f"{half}.conv1.{{leaf}}", f"{half}.conv_in.{{leaf}}"
        yield f"{half}.head.0.{{leaf}}", f"{half}.norm_out.{{leaf}}"
        yield f"{half}.head.2.{{leaf}}", f"{half}.conv_out.{{leaf}}"
    yield "conv1.{leaf}", "quant_conv.{leaf}"
    yield "conv2.{leaf}", "post_quant_conv.{leaf}"


NAMES = NameMap(pairs=tuple(_pairs()), dropped=re.compile(r"(?!)"), prefixes=("",))
