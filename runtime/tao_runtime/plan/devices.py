"""What accelerators can do: dense arithmetic per second by type, as their makers state it."""

from __future__ import annotations

from typing import Final

from tao_runtime.plan.model import Dtype

# Part of the driver's name -> dense bfloat16 FLOP/s (without sparsity). Data sheets of NVIDIA; the first match wins.
HALF_PRECISION: Final = {
    "GB200": 2.5e15,
    "GH200": 989e12,
    "B200": 2.25e15,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "H20": 148e12,
    "A100": 312e12,
    "A800": 312e12,
    "A10G": 70e12,
    "A30": 165e12,
    "A40": 150e12,
    "RTX A6000": 155e12,
    "RTX 6000 Ada": 364e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "V100": 125e12,  # float16: it has no bfloat16
}


UTILISATION: Final = (0.5, 0.35, 0.15)  # share of a device's peak that training reaches: best, usual, poor


def peak_flops(device: str, dtype: Dtype) -> float | None:
    """Return the dense FLOP/s of a device in half precision, None where it is not known, or for float32."""
    if dtype == "float32":
        return None
    return next((value for name, value in HALF_PRECISION.items() if name in device), None)
