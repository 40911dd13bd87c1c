"""Two models on the same questions: the difference with its interval, tests of it, and how many questions would tell.

Closed forms only: the same answers give the same interval, and none has zero width, so two models that never differ
on three questions are not called equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import ceil, exp, fsum, lgamma, log, sqrt

from tao_runtime.score.interval import Estimate, Z

Z_POWER = 0.8416212335729143  # a question that is decided in 80 % of repetitions
FEW_CLUSTERS = 10  # below this the spread between clusters says nothing


def paired_difference(differences: Sequence[float], clusters: Sequence[str] = ()) -> Estimate:
    """Mean of after - before over questions, each in [-1, 1], with its 95 % interval.

    Bonett and Price 2012 for right and wrong: one answer lost and one gained are added, then the plain interval;
    recommended by Fagerland, Lydersen and Laake 2014. For figures between 0 and 1 the same two are added. Questions
    about one clip (`clusters`: the clip of each) are no independent evidence: n is divided by the design effect (Rao
    and Scott 1992), and the quantile is Student's for the number of clips.

    100 questions, 12 gained, 4 lost: 0.080 in [-0.002, 0.159]. 100 without a change: 0 in [-0.027, 0.027].
    """
    n = len(differences)
    if n == 0:
        return Estimate()
    value = fsum(differences) / n
    squares = fsum(d * d for d in differences) / n
    size = n / design_effect(differences, clusters)
    centre = size * value / (size + 2)
    spread = (size * squares + 2) / (size + 2) - centre * centre
    num_clusters = len(set(clusters))
    quantile = _student(num_clusters - 1) if FEW_CLUSTERS <= num_clusters < n else Z
    half = quantile * sqrt(max(0.0, spread) / (size + 2))
    low, high = max(-1.0, centre - half), min(1.0, centre + half)
    return Estimate(value=value, low=min(value, low), high=max(value, high), n=n)


def design_effect(differences: Sequence[float], clusters: Sequence[str]) -> float:
    """How many clustered questions are worth one independent question; at least 1.

    Where nothing can be measured (few clusters, or no difference at all) a whole cluster counts as one question.
    """
    n, sums, sizes = len(differences), defaultdict[str, float](float), defaultdict[str, int](int)
    for cluster in clusters:
        sizes[cluster] += 1
    if len(sizes) in (0, n):
        return 1.0
    mean = fsum(differences) / n
    for cluster, d in zip(clusters, differences, strict=True):
        sums[cluster] += d - mean
    apart = fsum((d - mean) ** 2 for d in differences)
    if len(sizes) < FEW_CLUSTERS or apart <= 1e-12 * n:
        return n / len(sizes)
    between = fsum(total * total for total in sums.values()) * len(sizes) / (len(sizes) - 1)
    return min(float(max(sizes.values())), max(1.0, between / apart))


def sign_test(gained: int, lost: int) -> float:
    """Exact two-sided p that gains and losses are equally likely: McNemar's test. 8 against 2: 0.109."""
    n, less = gained + lost, min(gained, lost)
    if n == 0 or gained == lost:
        return 1.0
    terms = (exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * log(2)) for k in range(less + 1))
    return min(1.0, 2 * fsum(terms))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P values adjusted so that one false alarm among all has the chance each had alone (Holm 1979).

    0.01, 0.04, 0.03 -> 0.03, 0.06, 0.06.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return tuple(adjusted)


def questions_needed(difference: Estimate, *, tolerance: float) -> int | None:
    """How many questions would decide it in 80 % of repetitions, if models differ as they did; null: nothing was seen.

    Decided is what excludes 0, or lies inside the tolerance: the interval must be narrower than the nearer of both.
    A spread of 0.316 (10 answers of 100 changed) and +0.01 within 0.02: (0.316 x 2.80 / 0.01)^2, about 7,900.
    """
    if difference.value is None or difference.low is None or difference.high is None:
        return None
    away = abs(difference.value)
    margin = max(away, tolerance - away)
    if margin <= 0:  # no tolerance and no difference: no number of questions would tell
        return None
    spread = (difference.high - difference.low) / 2 / Z * sqrt(difference.n + 2)
    return ceil((spread * (Z + Z_POWER) / margin) ** 2)


def _student(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t, by its expansion in 1 / freedom. 9: 2.262; 29: 2.045."""
    z, v = Z, float(freedom)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3
