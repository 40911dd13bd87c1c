"""The TAO dialect of the video reasoner, one spec per action."""

from tao_runtime.spec.cosmos_reason.evaluate import EvaluateSpec
from tao_runtime.spec.cosmos_reason.inference import InferenceSpec
from tao_runtime.spec.cosmos_reason.quantize import QuantizeSpec
from tao_runtime.spec.cosmos_reason.train import TrainSpec

__all__ = ["EvaluateSpec", "InferenceSpec", "QuantizeSpec", "TrainSpec"]
