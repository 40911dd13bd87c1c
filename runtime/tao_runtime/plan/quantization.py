"""How a model is quantised, and on what it is measured: parts of a plan. Values only."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from tao_runtime.data.vision import SamplingPlan
from tao_runtime.errors import Frozen

Scheme = Literal["FP8_DYNAMIC", "NVFP4", "FP8", "W8A8", "W8A16", "W4A16"]
# round: to the nearest step, from the weights alone. minmax: ranges of activations are measured on records.
# gptq: what rounding one weight loses is made good by the others, as the records ask for (Frantar et al. 2022).
Method = Literal["round", "minmax", "gptq"]

METHODS: Final[dict[Scheme, Method]] = {
    "FP8_DYNAMIC": "round",
    "W8A16": "round",
    "FP8": "minmax",
    "NVFP4": "minmax",
    "W8A8": "gptq",
    "W4A16": "gptq",
}
GROUPED: Final = ("W4A16", "W8A16")  # whose group size is a choice
FIXED_GROUPS: Final = {"NVFP4": 16}
SMOOTHED: Final = ("W8A8",)  # 8-bit integers for activations, whose outliers must go somewhere (Xiao et al. 2022)


class SchemePlan(Frozen):
    """What is done to the weights."""

    name: Scheme
    method: Method
    group_size: int | None = Field(description="weights that share a scale; null: a row, or as the scheme says")
    kv_fp8: bool = Field(description="keys and values of attention are kept in 8 bits")
    smoothing: float = Field(description="0: activations stay as they are")
    samples: int = Field(description="calibration records; 0: none are needed")
    max_length: int = Field(description="tokens of the longest calibration sample")


class ProofPlan(Frozen):
    """How the smaller model is compared with the one it was made from."""

    sampling: SamplingPlan
    system_prompt: str
    prompt_format: str
    limit: int | None
    accuracy_budget: float = Field(description="accuracy that may be lost")
    test_answer: bool = Field(description="one answer of both models is written down")
