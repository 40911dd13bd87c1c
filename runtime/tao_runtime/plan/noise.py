"""Noise levels of training: how they are distributed, and the fixed ones at which held-out clips are judged.

Fixed levels are the middles of equal shares of what training draws, so that their mean estimates the training loss.
"""

from __future__ import annotations

import math
from statistics import NormalDist

WAVER_MODE = 1.29  # the scale of the mode-seeking density of upstream's "waver"


def waver_time(u: float) -> float:
    """Return the time of a uniform number: u = 0 gives 1, u = 1 gives 0, u = 0.5 gives 0.5."""
    return 1 - u - WAVER_MODE * (math.cos(math.pi / 2 * u) ** 2 - 1 + u)


def shifted(time: float, shift: float) -> float:
    """Return the noise level of a time. Worked number: time 0.5, shift 3 -> 1.5 / 2 = 0.75."""
    return shift * time / (1 + (shift - 1) * time)


def fixed_times(count: int, *, shift: float = 1.0) -> tuple[float, ...]:
    """Return the middles of `count` equal shares of waver's times, shifted, from low to high: 1 at shift 3 is 0.75."""
    middles = [(number + 0.5) / count for number in range(count)]
    return tuple(shifted(waver_time(1 - middle), shift) for middle in middles)  # waver falls


def fixed_sigmas(count: int, *, mean: float, std: float, factor: float = 1.0) -> tuple[float, ...]:
    """Return `factor` times the middles of `count` equal shares of a log-normal distribution, from low to high."""
    normal = NormalDist(mean, std)
    return tuple(factor * math.exp(normal.inv_cdf((number + 0.5) / count)) for number in range(count))
