"""The evaluation spec: which model answers which records, and how the answers are judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tao_runtime.spec.base import DatasetRef, ModelRef, Section, Spec
from tao_runtime.spec.cosmos_reason.evaluate_vision import EvaluateVision
from tao_runtime.spec.cosmos_reason.policy import BASE_MODEL
from tao_runtime.spec.field import (
    REQUIRED,
    Automl,
    Fraction,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Text,
    key,
    table,
)

Penalty = Annotated[float, Field(ge=-2, le=2)]
Metric = Literal["bleu", "rouge", "bertscore"]


class EvalDataset(Section):
    """The records that are answered."""

    annotation_path: Text = key(
        REQUIRED,
        "LLaVA annotation file, or a dataset root: a directory that holds annotations.json and the media.",
    )
    media_dir: str = key(
        "", "Directory that media names in the records are relative to. Empty: that of the annotation."
    )
    system_prompt: str = key(
        "",
        "Text of the system turn. Use the one of training. Empty: no system turn.",
        automl=Automl(enabled=True),
    )


class EvalModel(Section):
    """The model that answers."""

    model_name: Text = key(
        BASE_MODEL,
        "Weights that answer: a snapshot or adapter directory, org/name on the hub, or hf_model://org/name.",
    )
    enable_lora: bool = key(False, "model_name is an adapter; it is put on base_model_path.")
    base_model_path: str = key(BASE_MODEL, "Base of the adapter. Read only if enable_lora is true.")
    dtype: Literal["bfloat16", "float16", "float32"] = key("bfloat16", "Type of weights and arithmetic.")
    max_length: PositiveInt = key(
        128000, "Longest prompt and answer together.", unit="tokens", automl=Automl(minimum=1024, maximum=1_000_000)
    )
    tp_size: PositiveInt = key(1, "Tensor-parallel degree.", unit="processes", automl=Automl(minimum=1, maximum=8))
    save_folder: str = key("", "Directory under results_dir that results go to. Empty: results_dir itself.")
    tokenizer_model_name: str = key(
        "qwen2.5-vl-7b", "Tokenizer by name. Has no effect here: the model's own tokenizer is used."
    )
    config_file: str = key("", "Configuration of a converted checkpoint. Has no effect here.", since="head")
    export_dir: str = key("", "Where a converted checkpoint is put. Has no effect here.", since="head")
    vit_checkpoint_path: str = key("", "Separate vision weights. Has no effect here.", since="head")


class Task(Section):
    """Kind of the questions."""

    type: Literal["", "general", "binary", "mcq", "text", "its_directionality", "metropolis_sgd"] = key(
        "",
        "Kind of the questions. Empty or general: found from the ground truth, yes/no first. its_directionality: "
        "left, right or straight; not for collisions.",
    )


class SoftAccuracy(Section):
    """An answer counts as right if enough of its words are."""

    enabled: bool = key(True, "Compute it.")
    f1_threshold: Fraction = key(0.8, "Token F1 from which an answer counts as right.")


class Evaluation(Section):
    """How the evaluation is run."""

    answer_type: Literal["letter", "reasoning", "freeform", "naive"] = key("freeform", "Form that answers have.")
    num_processes: PositiveInt = key(
        40,
        "Workers of a server. Has no effect here: --nproc says how many processes answer.",
        automl=Automl(minimum=1, maximum=128),
    )
    batch_size: PositiveInt = key(
        50, "Prompts that are answered together.", unit="records", automl=Automl(minimum=1, maximum=500)
    )
    limit: Literal[-1] | PositiveInt = key(
        -1, "Answer only so many records. -1: all.", unit="records", automl=Automl(minimum=-1, maximum=999_999)
    )
    seed: NonNegativeInt = key(1, "Seed of sampling.", automl=Automl(minimum=0, maximum=999_999))
    shard_id: NonNegativeInt = key(
        0, "Which shard of the records this run answers.", automl=Automl(minimum=0, maximum=63)
    )
    shard_strategy: Literal["stride", "media_balanced"] = key(
        "stride", "How records are dealt to processes.", since="head"
    )
    skip_saved: bool = key(False, "Keep answers that are already there.")
    barrier_timeout_seconds: PositiveInt = key(
        14400, "Longest wait of one process for the others.", unit="s", since="head"
    )
    soft_accuracy: SoftAccuracy = table(SoftAccuracy(), "An answer counts as right if enough of its words are.")


class Generation(Section):
    """How answers are generated."""

    max_tokens: PositiveInt = key(
        1024, "Longest answer.", unit="tokens", automl=Automl(enabled=True, minimum=1, maximum=8192)
    )
    temperature: Annotated[float, Field(ge=0)] = key(
        0.0, "Randomness. 0: always the likeliest token.", automl=Automl(enabled=True, minimum=0.0, maximum=2.0)
    )
    repetition_penalty: PositiveFloat = key(
        1.0, "Above 1: tokens that occurred become less likely.", automl=Automl(enabled=True, minimum=0.1, maximum=2.0)
    )
    presence_penalty: Penalty = key(
        0.0, "Taken from the score of a token that occurred.", automl=Automl(enabled=True, minimum=-2.0, maximum=2.0)
    )
    frequency_penalty: Penalty = key(
        0.0, "Taken from the score of a token, per occurrence.", automl=Automl(enabled=True, minimum=-2.0, maximum=2.0)
    )
    max_retries: NonNegativeInt = key(
        10, "Calls of a server before an answer is given up. Has no effect here.", automl=Automl(minimum=0, maximum=50)
    )


class Metrics(Section):
    """Text metrics, beside those of the task."""

    names: Annotated[tuple[Metric, ...], Field(strict=False)] = key(
        ("bleu", "rouge"), "Text metrics to compute. bertscore needs its extra installed.", automl=Automl(enabled=False)
    )
    bertscore_model: Text = key("microsoft/deberta-xlarge-mnli", "Model of BERTScore.")
    bertscore_lang: Text = key("en", "Language of BERTScore.")
    bertscore_device: Text = key("cpu", "Device of BERTScore; cpu leaves the GPU to the model.", since="7.0.1")
    bertscore_batch_size: PositiveInt = key(1, "Pairs scored together.", unit="pairs", since="7.0.1")


class Results(Section):
    """What is written beside results.json."""

    save_individual_results: bool = key(True, "Write one file per record.")
    save_confusion_matrix: bool = key(True, "Draw the confusion matrix.")
    save_metrics_summary: bool = key(True, "Write metrics.json.")


class EvaluateSpec(Spec):
    """Answers of a model to annotated questions, judged. The tables may also stand under `evaluate:`."""

    family: ClassVar[str] = "cosmos_reason"
    action: ClassVar[str] = "evaluate"
    aliases: ClassVar[Mapping[str, str]] = {"evaluate": ""}

    results_dir: Text = key(REQUIRED, "Directory that results are written to.")
    num_gpus: PositiveInt = key(1, "Processes that answer, unless --nproc says otherwise.", unit="processes")
    task: Task = table(Task(), "Kind of the questions.")
    dataset: EvalDataset = table(REQUIRED, "The records that are answered.")
    model: EvalModel = table(EvalModel(), "The model that answers.")
    evaluation: Evaluation = table(Evaluation(), "How the evaluation is run.")
    vision: EvaluateVision = table(
        EvaluateVision(), "How frames are taken. Exactly one of fps and nframes (or num_frames)."
    )
    generation: Generation = table(Generation(), "How answers are generated.")
    metrics: Metrics = table(Metrics(), "Text metrics, beside those of the task.")
    results: Results = table(Results(), "What is written beside results.json.")

    def datasets(self) -> tuple[DatasetRef, ...]:
        data = self.dataset
        return (
            DatasetRef("eval", data.annotation_path, data.media_dir, "dataset.annotation_path", "dataset.media_dir"),
        )

    def models(self) -> tuple[ModelRef, ...]:
        model = ModelRef("model", self.model.model_name, "model.model_name")
        if not self.model.enable_lora:
            return (model,)
        return (model, ModelRef("base_model", self.model.base_model_path, "model.base_model_path"))

    def output_dir(self) -> str:
        return str(PurePath(self.results_dir) / self.model.save_folder)

    def acting_on(self, model: str, *, base: str, output_dir: str) -> tuple[str, ...]:
        adapter = ("model.enable_lora=true", f"model.base_model_path={base}") if base else ("model.enable_lora=false",)
        return (f"model.model_name={model}", *adapter, f"results_dir={output_dir}", "model.save_folder=")

    def any_question(self) -> tuple[str, ...]:
        return ("task.type=", "evaluation.limit=-1", "evaluation.skip_saved=false")
