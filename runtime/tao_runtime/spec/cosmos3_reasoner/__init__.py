"""Cosmos3 as a reasoner: answers about video and pictures, in the structured dialect with task vlm."""

from tao_runtime.spec.cosmos3_reasoner.answer import EvaluateSpec, InferenceSpec
from tao_runtime.spec.cosmos3_reasoner.train import TrainSpec

__all__ = ["EvaluateSpec", "InferenceSpec", "TrainSpec"]
