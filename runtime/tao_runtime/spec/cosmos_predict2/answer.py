"""Evaluation and inference of Predict2."""

from __future__ import annotations

from typing import ClassVar

from tao_runtime.spec.base import DatasetRef, ModelRef
from tao_runtime.spec.cosmos_predict2.train import VideoKeys, VideoSpec, WorldJob
from tao_runtime.spec.field import REQUIRED, table
from tao_runtime.spec.structured.video import JudgedModel, Request, Scoring, TunedModel


class EvaluateSpec(VideoSpec):
    """How well a video model knows clips it was not trained on, its loss at fixed noise, and videos."""

    action: ClassVar[str] = "evaluate"

    job: WorldJob = table(WorldJob(), "Name and place of a run.")
    model: JudgedModel = table(REQUIRED, "The weights that are judged.")
    dataset: VideoKeys = table(
        REQUIRED, "A folder with videos/, metas/ and, where embedded before, t5_xxl/; and how its clips become samples."
    )
    evaluate: Scoring = table(Scoring(), "How held-out clips are judged.")

    def datasets(self) -> tuple[DatasetRef, ...]:
        return (self.dataset.ref("eval", "dataset"),)

    def models(self) -> tuple[ModelRef, ...]:
        return self.model.refs()

    def judged(self) -> tuple[ModelRef, ...]:
        return self.model.judged()


class InferenceSpec(VideoSpec):
    """Video from a prompt and a picture or a clip."""

    action: ClassVar[str] = "inference"

    job: WorldJob = table(WorldJob(), "Name and place of a run.")
    model: TunedModel = table(REQUIRED, "The weights that make video.")
    inference: Request = table(Request(), "What video is asked for.")

    def datasets(self) -> tuple[DatasetRef, ...]:
        return ()

    def models(self) -> tuple[ModelRef, ...]:
        return (*self.model.refs(), *self.inference.refs())
