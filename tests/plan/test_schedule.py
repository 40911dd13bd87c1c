"""The learning-rate factor equals a reference that is written out step by step, for every shape."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tao_runtime.plan.model import SchedulePlan
from tao_runtime.plan.schedule import lr_factor

SHAPES = ("linear", "sqrt", "cosine", "none")


def reference(shape: str, *, warmup: int, decay: int | None, floor: float, total: int) -> list[float]:
    """Warm-up up to 1, a plateau if the decay is given and shorter than the rest, then the fall."""
    factors = [(number + 1) / warmup for number in range(min(warmup, total))]
    start = max(warmup, total - decay) if decay is not None else warmup
    factors += [1.0] * (start - len(factors))
    length = total - start
    for number in range(length):
        share = number / length
        fall = {"linear": share, "sqrt": share**0.5, "cosine": (1 - math.cos(share * math.pi)) / 2, "none": 0.0}[shape]
        factors.append(1.0 - (1.0 - floor) * fall)
    return factors[:total]


@pytest.mark.parametrize("shape", SHAPES)
@given(warmup=st.integers(0, 30), decay=st.none() | st.integers(0, 60), floor=st.floats(0, 1), total=st.integers(1, 50))
def test_equals_the_reference(shape: str, warmup: int, decay: int | None, floor: float, total: int) -> None:
    plan = SchedulePlan(warmup_steps=warmup, decay_steps=decay, decay=shape, min_factor=floor, total_steps=total)
    factors = [lr_factor(plan, step) for step in range(total)]
    expected = reference(shape, warmup=warmup, decay=decay, floor=floor, total=total)
    assert factors == pytest.approx(expected, abs=1e-12)
    assert min(factors) >= 0


@pytest.mark.parametrize("shape", SHAPES)
def test_stays_on_the_floor_after_the_last_step(shape: str) -> None:
    plan = SchedulePlan(warmup_steps=2, decay=shape, min_factor=0.1, total_steps=10)
    assert lr_factor(plan, 10) == lr_factor(plan, 99) == pytest.approx(1.0 if shape == "none" else 0.1)


def test_worked_numbers() -> None:
    plan = SchedulePlan(warmup_steps=4, decay_steps=4, decay="linear", min_factor=0.2, total_steps=12)
    got = [round(lr_factor(plan, step), 6) for step in range(12)]
    assert got == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4]
