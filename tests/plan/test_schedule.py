"""The learning-rate factor equals a reference that is written out step by step, for every shape."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tao_runtime.plan.diffusion import CyclePlan
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


def cycles(decay: str, *parts: tuple[int, int, float, float, float]) -> SchedulePlan:
    made = tuple(CyclePlan(length=a, warmup=b, start=c, peak=d, floor=e) for a, b, c, d, e in parts)
    return SchedulePlan(warmup_steps=None, decay=decay, min_factor=0.0, total_steps=None, cycles=made)


def upstream(decay: str, parts: tuple[tuple[int, int, float, float, float], ...], step: int) -> float:
    """`utils/functional/lr_scheduler.py` of the framework: the boundary belongs to the cycle that ends."""
    gone = 0
    for length, warmup, start, peak, floor in parts:
        if step <= gone + length:
            n = step - gone
            if n < warmup:
                return (peak - start) / warmup * n + start
            if decay == "none":
                return peak
            if decay == "linear":
                return floor + (peak - floor) * (length - n) / (length - warmup)
            return floor + 0.5 * (peak - floor) * (1 + math.cos(math.pi * min((n - warmup) / (length - warmup), 1.0)))
        gone += length
    raise IndexError(step)


@pytest.mark.parametrize("decay", ["linear", "cosine", "none"])
@given(
    parts=st.lists(
        st.tuples(st.integers(2, 20), st.integers(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
        min_size=1,
        max_size=3,
    )
)
def test_cycles_equal_upstream_inside_and_are_defined_after(decay: str, parts: list[tuple]) -> None:
    plan, total = cycles(decay, *parts), sum(part[0] for part in parts)
    for step in range(total + 1):
        assert lr_factor(plan, step) == pytest.approx(upstream(decay, tuple(parts), step), abs=1e-9)
    after = parts[-1][3] if decay == "none" else parts[-1][4]
    assert lr_factor(plan, total + 1) == lr_factor(plan, 10**13) == pytest.approx(after)


def test_cycles_where_upstream_divides_by_zero_or_never_warms_up() -> None:
    assert [lr_factor(cycles("linear", (4, 4, 0.0, 1.0, 0.5)), step) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    late = cycles("cosine", (500, 1000, 0.05, 1.0, 0.5))  # a shipped recipe
    assert lr_factor(late, 499) == pytest.approx(0.05 + 0.95 * 0.499)
    assert lr_factor(late, 501) == lr_factor(late, 500) == pytest.approx(0.05 + 0.95 * 0.5)


def test_cycles_worked_numbers() -> None:
    plan = cycles("linear", (10, 2, 0.0, 1.0, 0.2), (5, 1, 0.5, 0.6, 0.0))
    assert [round(lr_factor(plan, step), 3) for step in (0, 1, 2, 6, 10, 11, 12, 15, 16)] == [
        0.0, 0.5, 1.0, 0.6, 0.2, 0.6, 0.45, 0.0, 0.0]  # fmt: skip
