"""A safety checker that lets everything pass: for the demo's squares, never for released weights.

The pipelines refuse to run without a checker, and the real one is gigabytes. The licence of the released models forbids
running them without it, so nothing outside of demo and tests makes this one.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn


class NoGuardrail(ModelMixin, ConfigMixin):
    """The three methods that the pipelines call."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1), requires_grad=False)  # a ModelMixin must have a dtype

    def check_text_safety(self, prompt: str) -> bool:
        return True

    def check_video_safety(self, frames: np.ndarray) -> np.ndarray:
        return frames
