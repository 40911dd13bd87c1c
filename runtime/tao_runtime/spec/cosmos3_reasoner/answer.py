"""Evaluation and inference of the reasoner."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tao_runtime.spec.base import DatasetRef, ModelRef, Section
from tao_runtime.spec.cosmos3_reasoner.hub import HUB
from tao_runtime.spec.cosmos3_reasoner.train import ConversationKeys, Frames, ReasonerJob, ReasonerSpec
from tao_runtime.spec.field import (
    REQUIRED,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Text,
    Texts,
    table,
)
from tao_runtime.spec.hub_asset import pin_of
from tao_runtime.spec.structured.field import OURS, Dtype, key

Metric = Literal["bleu", "rouge", "bertscore"]


class AnsweringModel(Section):
    """The weights that answer."""

    path: Text = key(REQUIRED, "Weights: the export of a run, a snapshot, or org/name on the hub.", since=OURS)
    base_path: str = key("", "Base that an adapter in path is put on. Empty: path is a whole model.", since=OURS)
    precision: Dtype = key("bfloat16", "Type of weights and arithmetic.", since=OURS)
    max_length: PositiveInt = key(128_000, "Longest prompt and answer together.", unit="tokens", since=OURS)

    def refs(self) -> tuple[ModelRef, ...]:
        """Return what is loaded, as the rest of the package names it."""
        model = ModelRef("model", self.path, "model.path", pin_of(HUB, self.path))
        base = ModelRef("base_model", self.base_path, "model.base_path", pin_of(HUB, self.base_path))
        return (model, base) if self.base_path else (model,)


class Answers(Section):
    """How answers are generated, and judged."""

    task: Literal["", "binary", "mcq", "rating", "text", "its_directionality"] = key(
        "", "Kind of the questions; rating: from 1 to 5. Empty: found from the ground truth.", since=OURS
    )
    max_tokens: PositiveInt = key(1024, "Longest answer.", unit="tokens", since=OURS)
    temperature: NonNegativeFloat = key(0.0, "Randomness. 0: always the likeliest token.", since=OURS)
    repetition_penalty: PositiveFloat = key(1.0, "Above 1: tokens that occurred become less likely.", since=OURS)
    batch_size: PositiveInt = key(8, "Prompts that are answered together.", unit="records", since=OURS)
    seed: NonNegativeInt = key(1, "Seed of sampling.", since=OURS)
    limit: Literal[-1] | PositiveInt = key(-1, "Answer only so many records. -1: all.", unit="records", since=OURS)
    text_metrics: Annotated[tuple[Metric, ...], Field(strict=False)] = key(
        (), "Text metrics to compute, beside those of the task. bertscore needs its extra installed.", since=OURS
    )
    soft_accuracy: Fraction | None = key(
        0.8, "Token F1 from which an answer counts as right in the soft accuracy. Null: not computed.", since=OURS
    )


class EvaluateSpec(ReasonerSpec):
    """Answers of a reasoner to annotated questions, judged."""

    action: ClassVar[str] = "evaluate"

    job: ReasonerJob = table(ReasonerJob(), "Name and place of a run.")
    model: AnsweringModel = table(REQUIRED, "The weights that answer.")
    dataset: ConversationKeys = table(REQUIRED, "Which conversations there are, and how they become samples.")
    evaluate: Answers = table(Answers(), "How answers are generated, and judged.")

    def datasets(self) -> tuple[DatasetRef, ...]:
        return (self.dataset.ref("eval", "dataset"),)

    def models(self) -> tuple[ModelRef, ...]:
        return self.model.refs()

    def acting_on(self, model: str, *, base: str, output_dir: str) -> tuple[str, ...]:
        place = PurePath(output_dir)
        job = (f"job.output_root={place.parent}", "job.project=", "job.group=", f"job.name={place.name}")
        return (f"model.path={model}", f"model.base_path={base}", *job)

    def any_question(self) -> tuple[str, ...]:
        return ("evaluate.task=", "evaluate.limit=-1")


class Question(Section):
    """What is asked about which media."""

    media: Text = key(REQUIRED, "A media file, a directory of them, or an annotation file (.json).", since=OURS)
    kind: Literal["video", "image"] = key("video", "Kind of the media.", since=OURS)
    prompt: Text = key(
        "Describe this video briefly.", "The question. Records of an annotation file bring their own.", since=OURS
    )
    prompts: Texts = key((), "Several questions, each asked about every file, instead of prompt.", since=OURS)
    system_prompt: str = key("", "Text of the system turn; that of training, if it had one.", since=OURS)
    batch_size: PositiveInt = key(8, "Questions that are answered together.", unit="questions", since=OURS)
    max_tokens: PositiveInt = key(128, "Longest answer.", unit="tokens", since=OURS)
    vision: Frames = table(Frames(), "How frames are taken from a video. Exactly one of fps and nframes.")


class InferenceSpec(ReasonerSpec):
    """Answers of a reasoner about a file, a folder or an annotation file."""

    action: ClassVar[str] = "inference"

    job: ReasonerJob = table(ReasonerJob(), "Name and place of a run.")
    model: AnsweringModel = table(REQUIRED, "The weights that answer.")
    inference: Question = table(REQUIRED, "What is asked about which media.")

    def datasets(self) -> tuple[DatasetRef, ...]:
        return (DatasetRef("media", self.inference.media, "", "inference.media", "inference.media"),)

    def models(self) -> tuple[ModelRef, ...]:
        return self.model.refs()
