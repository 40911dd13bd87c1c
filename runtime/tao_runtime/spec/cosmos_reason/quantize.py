"""The quantisation spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from tao_runtime.spec.base import DatasetRef, ModelRef, Section, Spec
from tao_runtime.spec.cosmos_reason.custom import Vision
from tao_runtime.spec.cosmos_reason.policy import BASE_MODEL
from tao_runtime.spec.field import REQUIRED, Fraction, PositiveInt, Text, key, table

Scheme = Literal["FP8_DYNAMIC", "NVFP4", "FP8", "W8A8", "W8A16", "W4A16"]


class CalibrationDataset(Section):
    """Records that scales are measured on: of the training set, with their media."""

    annotation_path: str = key(
        "",
        "LLaVA annotation file or dataset root. Needed by every scheme but FP8_DYNAMIC and W8A16, and by fp8 keys and "
        "values.",
    )
    media_dir: str = key(
        "", "Directory that media names in the records are relative to. Empty: that of the annotation."
    )
    system_prompt: str = key(
        "", "Text of the system turn; that of training, if it had one. Empty: no system turn.", since="tao-run"
    )
    vision: Vision = table(Vision(), "How frames are taken, as in training. Exactly one of fps and nframes.")
    dataset_id: str = key("", "Data set on the hub. Not supported here: data sets are local.")
    dataset_split: str = key("test[:1]", "Split of dataset_id. Has no effect here.")


class QuantizeModel(Section):
    """The model that is quantised."""

    model_path: Text = key(
        BASE_MODEL,
        "Weights: a snapshot, adapter or run directory, org/name on the hub, or hf_model://org/name.",
    )
    enable_lora: bool = key(False, "model_path is an adapter; it is merged into base_model_path first.")
    base_model_path: str = key("", "Base of the adapter. Read only if enable_lora is true.")


class Quantize(Section):
    """How weights are quantised."""

    quantization_scheme: Scheme = key("W4A16", "Bits of weights (W) and activations (A).")
    group_size: PositiveInt = key(
        128,
        "Weights of a row that share a scale, with W4A16 and W8A16; must divide the inputs of every layer.",
        unit="weights",
        since="tao-run",
    )
    kv_precision: Literal["bf16", "fp8"] = key("bf16", "Type of the key-value cache.")
    smoothing_strength: Fraction = key(
        0.8, "How much of the activations' range is moved into the weights, with W8A8. 0: nothing."
    )
    num_calibration_samples: PositiveInt = key(1, "Records that scales are measured on.", unit="records")
    max_sequence_length: PositiveInt = key(
        4096, "Longest calibration sample; longer records are passed over, and counted.", unit="tokens"
    )
    skip_test_generation: bool = key(True, "Do not write down a test answer of both models afterwards.")


class Proof(Section):
    """Held-out records that both models answer, and how much worse the smaller one may be."""

    annotation_path: str = key(
        "", "LLaVA annotation file or dataset root. Empty: accuracy is not measured, and not proven.", since="tao-run"
    )
    media_dir: str = key(
        "",
        "Directory that media names in the records are relative to. Empty: that of the annotation.",
        since="tao-run",
    )
    accuracy_budget: Fraction = key(
        0.02, "Accuracy that may be lost; beyond it the result is not called good.", since="tao-run"
    )
    limit: Literal[-1] | PositiveInt = key(-1, "Answer only so many records. -1: all.", unit="records", since="tao-run")
    max_tokens: PositiveInt = key(64, "Longest answer.", unit="tokens", since="tao-run")
    batch_size: PositiveInt = key(8, "Prompts that are answered together.", unit="records", since="tao-run")


class QuantizeSpec(Spec):
    """Smaller weights for serving, and the proof that they still answer."""

    family: ClassVar[str] = "cosmos_reason"
    action: ClassVar[str] = "quantize"
    aliases: ClassVar[Mapping[str, str]] = {"calibration_dataset": "dataset"}

    results_dir: Text = key(REQUIRED, "Directory that the quantised model is written to.")
    model: QuantizeModel = table(QuantizeModel(), "The model that is quantised.")
    dataset: CalibrationDataset = table(CalibrationDataset(), "Records that scales are measured on.")
    quantize: Quantize = table(Quantize(), "How weights are quantised.")
    proof: Proof = table(
        Proof(), "Held-out records that both models answer, and how much worse the smaller one may be."
    )

    def datasets(self) -> tuple[DatasetRef, ...]:
        tables = (("calibration", "dataset", self.dataset), ("eval", "proof", self.proof))
        return tuple(
            DatasetRef(label, data.annotation_path, data.media_dir, f"{name}.annotation_path", f"{name}.media_dir")
            for label, name, data in tables
            if data.annotation_path
        )

    def models(self) -> tuple[ModelRef, ...]:
        model = ModelRef("model", self.model.model_path, "model.model_path")
        if not self.model.enable_lora:
            return (model,)
        return (model, ModelRef("base_model", self.model.base_model_path, "model.base_model_path"))

    def output_dir(self) -> str:
        return self.results_dir
