"""Estimates with 95 % intervals. Closed forms only: the same counts give the same interval, and none has zero width."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from pydantic import Field

from tao_runtime.errors import Frozen

Z = 1.959963984540054  # two-sided 95 % of the normal distribution


class Estimate(Frozen):
    """A figure with its 95 % interval. All three are null when there was nothing to measure it on, never 0 or 1."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = Field(default=0, description="answers the figure rests on")


def proportion(successes: int, n: int) -> Estimate:
    """Wilson score interval (Wilson 1927). 95 of 100: 0.95 in [0.888, 0.978]; 10 of 10: 1.0 in [0.722, 1.0]."""
    if n == 0:
        return Estimate()
    p, z2 = successes / n, Z * Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return Estimate(value=p, low=max(0.0, min(p, centre - half)), high=min(1.0, max(p, centre + half)), n=n)


def f1_score(tp: int, fp: int, fn: int) -> Estimate:
    """F1 = 2J / (1 + J) is monotone in J = TP / (TP + FP + FN), so the Wilson interval of J carries over."""
    share = proportion(tp, tp + fp + fn)
    if share.value is None or share.low is None or share.high is None:
        return Estimate()
    value, low, high = (2 * j / (1 + j) for j in (share.value, share.low, share.high))
    return Estimate(value=value, low=low, high=high, n=share.n)


def mean_of(parts: Sequence[Estimate]) -> Estimate:
    """Mean of independent proportions; interval by MOVER (Zou and Donner 2008). Null if any part is."""
    known = [
        (p.value, p.low, p.high) for p in parts if p.value is not None and p.low is not None and p.high is not None
    ]
    if not known or len(known) < len(parts):
        return Estimate()
    k = len(known)
    value = sum(v for v, _, _ in known) / k
    below = sqrt(sum((v - low) ** 2 for v, low, _ in known)) / k
    above = sqrt(sum((high - v) ** 2 for v, _, high in known)) / k
    return Estimate(value=value, low=max(0.0, value - below), high=min(1.0, value + above), n=sum(p.n for p in parts))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """one - other for independent estimates (Newcombe 1998); on the same questions the true interval is narrower."""
    if one.value is None or one.low is None or one.high is None:
        return Estimate()
    if other.value is None or other.low is None or other.high is None:
        return Estimate()
    value = one.value - other.value
    below = sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    above = sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Estimate(value=value, low=value - below, high=value + above, n=min(one.n, other.n))


def mean(total: float, total_squares: float, n: int) -> Estimate:
    """Mean of figures in [0, 1] from their sum and sum of squares; normal interval, null below two figures."""
    if n == 0:
        return Estimate()
    value = total / n
    if n == 1:
        return Estimate(value=value, n=1)
    half = Z * sqrt(max(0.0, total_squares / n - value * value) / (n - 1))
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half), n=n)


def mean_of_numbers(values: Sequence[float]) -> Estimate:
    """Mean of any figures, one for each of independent things; normal interval, null below two."""
    n = len(values)
    if n == 0:
        return Estimate()
    value = sum(values) / n
    if n == 1:
        return Estimate(value=value, n=1)
    half = Z * sqrt(sum((each - value) ** 2 for each in values) / (n - 1) / n)
    return Estimate(value=value, low=value - half, high=value + half, n=n)
