"""Cosmos-Predict2: picture or clip, and text, to video, in the structured dialect with task video2world."""

from tao_runtime.spec.cosmos_predict2.answer import EvaluateSpec, InferenceSpec
from tao_runtime.spec.cosmos_predict2.train import TrainSpec

__all__ = ["EvaluateSpec", "InferenceSpec", "TrainSpec"]
