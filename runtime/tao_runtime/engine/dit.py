"""What training shares among diffusion transformers of diffusers that take [B, C, T, H, W] and text states.

Their forward resizes a padding mask with torchvision, which a CPU-only installation has not (diffusers 0.42.1,
transformer_cosmos.py:34 imports it only if it is there, and uses it without asking).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import diffusers.models.transformers.transformer_cosmos as network_module
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from tao_runtime.engine.objectives.draw import Draw


def supply_resize() -> None:
    """Give diffusers' module the one torchvision function it needs, if torchvision is not installed."""
    if not hasattr(network_module, "transforms"):
        functional = SimpleNamespace(resize=_resize_nearest)
        network_module.transforms = SimpleNamespace(
            functional=functional, InterpolationMode=SimpleNamespace(NEAREST="nearest")
        )


def _resize_nearest(mask_NCHW: torch.Tensor, size: list[int], interpolation: str) -> torch.Tensor:
    return F.interpolate(mask_NCHW.float(), size=tuple(size), mode=interpolation).to(mask_NCHW.dtype)


def run_dit(
    model: nn.Module,
    input_BCTHW: torch.Tensor,
    timestep: torch.Tensor,
    text_BSD: torch.Tensor,
    *,
    fps: float,
    condition_B1THW: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the network's output [B, C, T, H, W].

    timestep: [B], or [B, 1, T, 1, 1] per frame; rounded to the dtype as upstream and the pipelines do.
    text_BSD: zero where padded, as the pipelines have it, in the dtype that the network computes in.
    """
    network: Any = model
    dtype = text_BSD.dtype
    # No pixel is padding: every clip fills its frame. Any size does, the mask is resized.
    mask = input_BCTHW.new_zeros(1, 1, *input_BCTHW.shape[-2:], dtype=dtype)
    return network(
        input_BCTHW.to(dtype),
        timestep=timestep.to(dtype),
        encoder_hidden_states=text_BSD,
        fps=fps,
        condition_mask=None if condition_B1THW is None else condition_B1THW.to(dtype),
        padding_mask=mask,
        return_dict=False,
    )[0]


def batch_text(states: Sequence[torch.Tensor], draws: Sequence[Draw], *, length: int) -> torch.Tensor:
    """Return text states [B, length, D], all zero where the draw drops the text.

    Upstream's dropout multiplies the states by 0 (cosmos-predict1 and -predict2, conditioner `random_dropout_input`);
    the states of an empty caption are something else.
    """
    padded = [pad_text(each, length) for each in states]
    return torch.stack([each * (not draw.drop_text) for each, draw in zip(padded, draws, strict=True)])


def pad_text(states_SD: torch.Tensor, length: int) -> torch.Tensor:
    """Return text states of a fixed length, zero-padded or cut. The network attends to the zeros too."""
    kept = states_SD[:length]
    return F.pad(kept, (0, 0, 0, length - len(kept)))
