"""Which frames or pixels would make samples short enough: the largest value of each knob that does, alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tao_runtime.data.vision import SamplingPlan

PIXELS: Final = tuple(1 << power for power in range(14, 27))  # of all frames of a clip: 128x128 to 8192x8192
FPS_STEP: Final = 0.1


def shorter(sampling: SamplingPlan, fits: Callable[[SamplingPlan], bool]) -> Mapping[str, float]:
    """Return, by knob, the largest value with which `fits` holds; a knob that cannot do it alone is left out.

    The knobs are nframes or fps, whichever is used, and total_pixels: less of one never makes a sample longer.
    """
    found: dict[str, float] = {}
    if sampling.num_frames is not None:
        counts = range(1, sampling.num_frames)
        if (count := _largest(counts, lambda each: fits(sampling.model_copy(update={"num_frames": each})))) is not None:
            found["nframes"] = count
    elif sampling.fps is not None:
        steps = range(1, round(sampling.fps / FPS_STEP))
        step = _largest(steps, lambda each: fits(sampling.model_copy(update={"fps": each * FPS_STEP})))
        if step is not None:
            found["fps"] = round(step * FPS_STEP, 1)
    most = sampling.total_pixels or PIXELS[-1] + 1
    areas = tuple(area for area in PIXELS if area < most)
    if (area := _largest(areas, lambda each: fits(sampling.model_copy(update={"total_pixels": each})))) is not None:
        found["total_pixels"] = area
    return found


def _largest(values: range | tuple[int, ...], fits: Callable[[int], bool]) -> int | None:
    """Return the largest of rising values that fits, by bisection; None if the smallest does not."""
    if not values or not fits(values[0]):
        return None
    low, high = 0, len(values)  # the first fits, what lies behind the last does not count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(values[middle]) else (low, middle)
    return values[low]
