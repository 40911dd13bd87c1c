"""Cosmos-Predict1: text to video by EDM diffusion, in the structured dialect with task text2world."""

from tao_runtime.spec.cosmos_predict1.answer import EvaluateSpec, InferenceSpec
from tao_runtime.spec.cosmos_predict1.train import TrainSpec

__all__ = ["EvaluateSpec", "InferenceSpec", "TrainSpec"]
