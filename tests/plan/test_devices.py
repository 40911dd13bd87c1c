"""What a device can do is found by its driver's name, and not guessed."""

from __future__ import annotations

import pytest

from tao_runtime.plan.devices import HALF_PRECISION, peak_flops


@pytest.mark.parametrize(
    ("device", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA H20", 148),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA GB200", 2500),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
    ],
)
def test_a_device_is_known_by_its_name(device: str, tflops: float) -> None:
    assert peak_flops(device, "bfloat16") == tflops * 1e12


def test_no_figure_where_none_is_known() -> None:
    assert peak_flops("cpu", "bfloat16") is None
    assert peak_flops("NVIDIA H100", "float32") is None


def test_a_longer_name_comes_before_the_shorter_one_that_it_holds() -> None:
    names = list(HALF_PRECISION)
    assert not [(a, b) for place, a in enumerate(names) for b in names[place + 1 :] if a in b]
