"""How alike two clips are, frame by frame: PSNR of the colours, and SSIM of the luma (Wang et al. 2004).

scikit-image has both, and brings scipy and six more packages; the tests hold ours against its numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tao_runtime.errors import Frozen

Frames = npt.NDArray[np.uint8]  # [T, H, W, 3] RGB
Numbers = npt.NDArray[np.float64]
PEAK = 255.0
MOST_DB = 100.0  # of equal clips, whose ratio is infinite: a mean over clips must exist
WINDOW, SIGMA = 11, 1.5  # of the Gaussian, in pixels
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


class Similarity(Frozen):
    """How alike two clips are."""

    psnr: float = Field(description="dB; 100 where no pixel differs")
    ssim: float | None = Field(description="1 where no pixel differs; null: frames smaller than the window of 11 x 11")


def compare_clips(one: Frames, other: Frames) -> Similarity:
    """Compare two clips of one shape.

    Raises:
        ValueError: their shapes differ.
    """
    if one.shape != other.shape:
        raise ValueError(f"clips of {list(one.shape)} and {list(other.shape)}; want the same shape")
    values = [ssim(luma(a), luma(b)) for a, b in zip(one, other, strict=True)]
    known = [value for value in values if value is not None]
    return Similarity(psnr=psnr(one, other), ssim=sum(known) / len(known) if len(known) == len(values) else None)


def psnr(one: Frames, other: Frames) -> float:
    """Return 10 log10(255^2 / mean squared error), dB. Worked number: all pixels off by 1 -> 48.13."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return min(MOST_DB, 10 * float(np.log10(PEAK**2 / error))) if error else MOST_DB


def luma(frame_HWC: Frames) -> Numbers:
    """Return the luma of a frame, in [0, 255]."""
    found: Numbers = frame_HWC.astype(np.float64) @ LUMA
    return found


def ssim(one_HW: Numbers, other_HW: Numbers) -> float | None:
    """Return the mean over all places where the window fits; None if there is none.

    Worked number: two plain pictures of 100 and 120 are (2 x 100 x 120 + C1) / (100^2 + 120^2 + C1) = 0.9836.
    """
    if min(one_HW.shape) < WINDOW:
        return None
    mean_1, mean_2 = _blur(one_HW), _blur(other_HW)
    variance_1 = _blur(one_HW**2) - mean_1**2
    variance_2 = _blur(other_HW**2) - mean_2**2
    both = _blur(one_HW * other_HW) - mean_1 * mean_2
    top = (2 * mean_1 * mean_2 + C1) * (2 * both + C2)
    return float(np.mean(top / ((mean_1**2 + mean_2**2 + C1) * (variance_1 + variance_2 + C2))))


def _blur(picture_HW: Numbers) -> Numbers:
    """Return the Gaussian mean of each window that fits, one axis after the other."""
    weights = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    weights /= weights.sum()
    rows: Any = sum(w * picture_HW[k : picture_HW.shape[0] - WINDOW + 1 + k] for k, w in enumerate(weights))
    found: Numbers = sum(w * rows[:, k : rows.shape[1] - WINDOW + 1 + k] for k, w in enumerate(weights))  # type: ignore[assignment]
    return found
