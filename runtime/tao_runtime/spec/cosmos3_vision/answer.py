"""Evaluation and inference of the vision family."""

from __future__ import annotations

from typing import ClassVar

from tao_runtime.spec.base import DatasetRef, ModelRef
from tao_runtime.spec.cosmos3_vision.train import ClipSource, VisionJob, VisionSpec
from tao_runtime.spec.field import REQUIRED, table
from tao_runtime.spec.structured.video import JudgedModel, Request, Scoring, TunedModel


class EvaluateSpec(VisionSpec):
    """How well a video generator knows clips it was not trained on, its loss at fixed noise, and videos."""

    action: ClassVar[str] = "evaluate"

    job: VisionJob = table(VisionJob(), "Name and place of a run.")
    model: JudgedModel = table(REQUIRED, "The weights that are judged.")
    dataset: ClipSource = table(REQUIRED, "Which clips there are, and how they become samples.")
    evaluate: Scoring = table(Scoring(), "How held-out clips are judged.")

    def datasets(self) -> tuple[DatasetRef, ...]:
        return (self.dataset.ref("eval", "dataset"),)

    def models(self) -> tuple[ModelRef, ...]:
        return self.model.refs()

    def judged(self) -> tuple[ModelRef, ...]:
        return self.model.judged()


class InferenceSpec(VisionSpec):
    """Video from a prompt, and where given from a picture or a clip."""

    action: ClassVar[str] = "inference"

    job: VisionJob = table(VisionJob(), "Name and place of a run.")
    model: TunedModel = table(REQUIRED, "The weights that make video.")
    inference: Request = table(Request(), "What video is asked for.")

    def datasets(self) -> tuple[DatasetRef, ...]:
        return ()

    def models(self) -> tuple[ModelRef, ...]:
        return (*self.model.refs(), *self.inference.refs())
