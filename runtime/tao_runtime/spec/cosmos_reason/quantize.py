"""The quantisation spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from tao_runtime.spec.base import DatasetRef, ModelRef, Section, Spec
from tao_runtime.spec.cosmos_reason.policy import BASE_MODEL
from tao_runtime.spec.field import REQUIRED, Fraction, PositiveInt, Text, key, table


class CalibrationDataset(Section):
    """Records that scales are measured on."""

    annotation_path: str = key("", "LLaVA annotation file or dataset root. Empty: dataset_id is used.")
    media_dir: str = key(
        "", "Directory that media names in the records are relative to. Empty: that of the annotation."
    )
    dataset_id: str = key("", "Data set on the hub, used where annotation_path is empty.")
    dataset_split: str = key("test[:1]", "Split of dataset_id.")


class QuantizeModel(Section):
    """The model that is quantised."""

    model_path: Text = key(
        BASE_MODEL, "Weights: a snapshot or adapter directory, org/name on the hub, or hf_model://org/name."
    )
    enable_lora: bool = key(False, "model_path is an adapter; it is merged into base_model_path first.")
    base_model_path: str = key("", "Base of the adapter. Read only if enable_lora is true.")


class Quantize(Section):
    """How weights are quantised."""

    quantization_scheme: Literal["FP8_DYNAMIC", "NVFP4", "FP8", "W8A8", "W8A16", "W4A16"] = key(
        "W4A16", "Bits of weights (W) and activations (A)."
    )
    kv_precision: Literal["bf16", "fp8"] = key("bf16", "Type of the key-value cache.")
    smoothing_strength: Fraction = key(0.8, "How much of the activations' range is moved into the weights.")
    num_calibration_samples: PositiveInt = key(1, "Records that scales are measured on.", unit="records")
    max_sequence_length: PositiveInt = key(4096, "Longest calibration sample.", unit="tokens")
    skip_test_generation: bool = key(True, "Do not generate a test answer afterwards.")


class QuantizeSpec(Spec):
    """Smaller weights for serving."""

    family: ClassVar[str] = "cosmos_reason"
    action: ClassVar[str] = "quantize"
    aliases: ClassVar[Mapping[str, str]] = {"calibration_dataset": "dataset"}

    results_dir: Text = key(REQUIRED, "Directory that the quantised model is written to.")
    model: QuantizeModel = table(QuantizeModel(), "The model that is quantised.")
    dataset: CalibrationDataset = table(CalibrationDataset(), "Records that scales are measured on.")
    quantize: Quantize = table(Quantize(), "How weights are quantised.")

    def datasets(self) -> tuple[DatasetRef, ...]:
        data = self.dataset
        if not data.annotation_path:
            return ()
        keys = ("dataset.annotation_path", "dataset.media_dir")
        return (DatasetRef("calibration", data.annotation_path, data.media_dir, *keys),)

    def models(self) -> tuple[ModelRef, ...]:
        model = ModelRef("model", self.model.model_path, "model.model_path")
        if not self.model.enable_lora:
            return (model,)
        return (model, ModelRef("base_model", self.model.base_model_path, "model.base_model_path"))

    def output_dir(self) -> str:
        return self.results_dir
