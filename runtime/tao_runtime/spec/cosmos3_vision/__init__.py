"""Cosmos3 as a generator of video: text, picture or clip to video, in the structured dialect with task vfm."""

from tao_runtime.spec.cosmos3_vision.answer import EvaluateSpec, InferenceSpec
from tao_runtime.spec.cosmos3_vision.train import TrainSpec

__all__ = ["EvaluateSpec", "InferenceSpec", "TrainSpec"]
