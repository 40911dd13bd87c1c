"""The paired interval holds what it promises: 95 of 100 cover the truth, clusters widen it, and none has zero width."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tao_runtime.score.paired import design_effect, holm, paired_difference, questions_needed, sign_test


def coverage(draw: Callable[[random.Random], tuple[list[float], list[str]]], truth: float, *, times: int) -> float:
    rng = random.Random(7)
    hits = 0
    for _ in range(times):
        found = paired_difference(*draw(rng))
        assert found.low is not None and found.high is not None
        hits += found.low <= truth <= found.high
    return hits / times


@pytest.mark.parametrize(("gain", "loss", "n"), [(0.2, 0.1, 40), (0.05, 0.05, 100), (0.3, 0.02, 60), (0.01, 0.0, 200)])
def test_right_and_wrong_are_covered(gain: float, loss: float, n: int) -> None:
    def draw(rng: random.Random) -> tuple[list[float], list[str]]:
        return [float(x < gain) - float(gain <= x < gain + loss) for x in (rng.random() for _ in range(n))], []

    assert coverage(draw, gain - loss, times=1000) >= 0.935


def test_graded_figures_are_covered() -> None:
    def draw(rng: random.Random) -> tuple[list[float], list[str]]:
        return [max(-1.0, min(1.0, rng.gauss(0.05, 0.2))) for _ in range(60)], []

    assert coverage(draw, 0.05, times=600) >= 0.935


def clustered(rng: random.Random) -> tuple[list[float], list[str]]:
    """Ten questions on each of 30 clips, and a clip tends to be lost as a whole: 10 % gained, 20 % lost."""
    changes, clips = [], []
    for clip in range(30):
        of_clip = rng.random()
        for _ in range(10):
            x = of_clip if rng.random() < 0.8 else rng.random()
            changes.append(float(x < 0.1) - float(0.1 <= x < 0.3))
            clips.append(str(clip))
    return changes, clips


def test_questions_about_one_clip_are_covered_only_by_their_design_effect() -> None:
    def independent(rng: random.Random) -> tuple[list[float], list[str]]:
        return clustered(rng)[0], []

    assert coverage(clustered, -0.1, times=300) >= 0.92
    assert coverage(independent, -0.1, times=300) < 0.75


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60), st.integers(1, 60))
def test_the_interval_holds_its_value_and_has_a_width(changes: list[float], per_clip: int) -> None:
    clips = [str(i // per_clip) for i in range(len(changes))]
    for found in (paired_difference(changes), paired_difference(changes, clips)):
        assert found.value is not None and found.low is not None and found.high is not None
        assert -1 <= found.low <= found.value <= found.high <= 1
        assert found.high > found.low


def test_it_is_the_published_formula_and_the_sign_turns_with_the_models() -> None:
    found = paired_difference([1.0] * 12 + [-1.0] * 4 + [0.0] * 84)
    p12, p21 = 13 / 102, 5 / 102  # Bonett and Price 2012: one added to each, two to n
    half = 1.959963984540054 * ((p12 + p21 - (p12 - p21) ** 2) / 102) ** 0.5
    assert (found.value, found.low, found.high) == pytest.approx((0.08, p12 - p21 - half, p12 - p21 + half))
    turned = paired_difference([-1.0] * 12 + [1.0] * 4 + [0.0] * 84)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


def test_design_effect_between_independent_and_the_same() -> None:
    changes = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, -1.0, -1.0] * 4
    clips = [str(i // 3) for i in range(36)]
    assert design_effect(changes, clips) == pytest.approx(3.0)
    assert design_effect(changes, [str(i) for i in range(36)]) == design_effect(changes, []) == 1.0
    assert design_effect([0.0] * 6, list("aabbcc")) == 2.0  # nothing changed: a clip counts once


def test_sign_test_and_holm_equal_the_hand_calculation() -> None:
    assert sign_test(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert sign_test(5, 5) == sign_test(0, 0) == 1.0
    assert sign_test(3000, 2000) < 1e-40
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))


def test_so_many_questions_do_tell() -> None:
    """Repeating what was seen with as many questions as asked for gives an interval that decides."""
    seen = [1.0] * 6 + [-1.0] * 2 + [0.0] * 92
    few = paired_difference(seen)
    needed = questions_needed(few, tolerance=0.02)
    assert few.low is not None and few.low < 0 and needed is not None
    many = paired_difference(seen * (needed // 100 + 1))
    assert many.low is not None and many.low > 0
    assert questions_needed(paired_difference([0.0] * 20), tolerance=0.0) is None
    assert questions_needed(paired_difference([]), tolerance=0.02) is None
