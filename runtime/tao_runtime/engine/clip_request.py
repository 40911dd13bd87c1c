"""What a clip is asked for, whichever family generates it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """One clip to generate."""

    prompt: str
    height: int  # pixels
    width: int
    num_frames: int
    fps: float
    steps: int = 35  # of the sampler
    guidance: float = 7.0  # as the family's pipeline counts it
    seed: int = 0
    text_length: int = 512  # tokens the text states are padded to, as in training
    negative_prompt: str = ""  # what the clip does not show; where it is empty, as the family's training left text out
    given_THWC: np.ndarray | None = None  # first frames, uint8 RGB; None: from text alone
    structured: bool = False  # the prompt is JSON, which says length and size itself

    @property
    def options(self) -> dict[str, Any]:
        """What every pipeline takes."""
        return {
            "prompt": self.prompt,
            "height": self.height,
            "width": self.width,
            "num_frames": self.num_frames,
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "fps": self.fps,
            "generator": torch.Generator().manual_seed(self.seed),
            "output_type": "np",
        }

    def no_text(self, pipeline: Any) -> torch.Tensor:
        """The text states [1, tokens, width] of guidance's other side: zero, as dropped text is in training.

        The pipelines' own default, the states of an empty prompt, is nothing that training ever showed.
        """
        width, dtype = pipeline.text_encoder.config.d_model, pipeline.text_encoder.dtype
        return torch.zeros(1, self.text_length, width, dtype=dtype, device=pipeline.device)

    def other_side(self, pipeline: Any) -> dict[str, Any]:
        """What guidance leads away from: the prompt that is given for it, else no text."""
        if self.negative_prompt:
            return {"negative_prompt": self.negative_prompt}
        return {"negative_prompt_embeds": self.no_text(pipeline)}

    @property
    def given(self) -> dict[str, Any]:
        """The given frames as a pipeline wants them: one is an image, several are a video."""
        if self.given_THWC is None:
            return {}
        images = [Image.fromarray(frame) for frame in self.given_THWC]
        return {"image": images[0]} if len(images) == 1 else {"video": images}


def to_uint8(frames_THWC: np.ndarray) -> np.ndarray:
    """Return frames in [0, 1] as uint8."""
    return (np.clip(frames_THWC, 0, 1) * 255).round().astype(np.uint8)
