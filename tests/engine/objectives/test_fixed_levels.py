"""Held-out clips are judged at levels that are middles of equal shares of what training draws."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from tao_runtime.engine.objectives import edm, flow_matching, rectified_flow
from tao_runtime.engine.objectives.draw import sample_generator
from tao_runtime.plan.noise import fixed_sigmas, fixed_times, shifted

DRAWS, FRAMES = 3000, 5
SHAPE = (1, FRAMES, 1, 1)


def drawn(objective, recipe) -> list[float]:
    return [objective.draw(SHAPE, sample_generator(0, 0, sample), recipe).sigma for sample in range(DRAWS)]


@pytest.mark.parametrize(
    ("objective", "recipe", "levels"),
    [
        (flow_matching, flow_matching.FlowRecipe(shift=3.0), fixed_times(4, shift=3.0)),
        (edm, edm.EdmRecipe(), fixed_sigmas(4, mean=0.0, std=1.0)),
        (
            rectified_flow,
            rectified_flow.RectifiedFlowRecipe(noise_frames=FRAMES, high_sigma_ratio=0.0),
            fixed_sigmas(4, mean=0.0, std=1.0, factor=math.sqrt(FRAMES)),
        ),
    ],
    ids=["flow-matching", "edm", "rectified-flow"],
)
def test_levels_are_quantiles_of_training(objective, recipe, levels: tuple[float, ...]) -> None:
    found, half = drawn(objective, recipe), 1.96 * 0.5 / math.sqrt(DRAWS)
    shares = [sum(sigma < level for sigma in found) / DRAWS for level in levels]
    assert shares == pytest.approx([1 / 8, 3 / 8, 5 / 8, 7 / 8], abs=1.5 * half)


def test_known_levels() -> None:
    assert fixed_times(1, shift=3.0) == pytest.approx((0.75,))
    assert fixed_sigmas(1, mean=0.0, std=1.0, factor=2.0) == pytest.approx((2.0,))
    assert shifted(0.5, 3.0) == 0.75
