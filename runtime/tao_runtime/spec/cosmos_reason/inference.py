"""The inference spec: answers without ground truth."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import model_validator

from tao_runtime.spec.base import DatasetRef, ModelRef, Spec
from tao_runtime.spec.cosmos_reason.custom import choose_frames
from tao_runtime.spec.cosmos_reason.policy import BASE_MODEL
from tao_runtime.spec.field import REQUIRED, PositiveFloat, PositiveInt, Text, Texts, key


class InferenceSpec(Spec):
    """Answers of a model about a file, a folder or an annotation file."""

    family: ClassVar[str] = "cosmos_reason"
    action: ClassVar[str] = "inference"

    media: Text = key(REQUIRED, "A media file, a directory of them, or an annotation file (.json).")
    results_dir: Text = key(REQUIRED, "Directory that answers are written to.")
    prompt: Text = key("Describe this video briefly.", "The question. Records of an annotation file bring their own.")
    prompts: Texts = key((), "Several questions, each asked about every file, instead of prompt.", since="tao-run")
    batch_size: PositiveInt = key(8, "Questions that are answered together.", unit="questions", since="tao-run")
    system_prompt: str = key(
        "", "Text of the system turn; that of training, if it had one. Empty: no system turn.", since="tao-run"
    )
    type: Literal["video", "image"] = key("video", "Kind of the media.")
    model_path: Text = key(
        BASE_MODEL, "Weights: a snapshot or adapter directory, org/name on the hub, or hf_model://org/name."
    )
    enable_lora: bool = key(False, "model_path is an adapter; it is put on base_model_path.")
    base_model_path: str = key(BASE_MODEL, "Base of the adapter. Read only if enable_lora is true.")
    fps: PositiveFloat | None = key(1, "Rate at which frames are taken, in video time.", unit="frames/s")
    num_frames: PositiveInt | None = key(
        None, "Frames taken from each clip, spread evenly, instead of fps.", unit="frames", since="head"
    )
    total_pixels: PositiveInt | None = key(
        200704, "Upper limit of the area of all frames of a clip together.", unit="pixels"
    )
    max_new_tokens: PositiveInt = key(32, "Longest answer.", unit="tokens")
    torch_dtype: Literal["auto", "bfloat16", "float16", "float32"] = key(
        "auto", "Type of weights and arithmetic. auto: as the weights are stored."
    )
    device_map: str = key("auto", "Placement of layers. Has no effect here: each process holds the model.")
    num_gpus: PositiveInt = key(1, "Processes that answer, unless --nproc says otherwise.", unit="processes")

    @model_validator(mode="before")
    @classmethod
    def _choose_frames(cls, data: Any) -> Any:
        return choose_frames(data, "num_frames")

    def datasets(self) -> tuple[DatasetRef, ...]:
        return (DatasetRef("media", self.media, "", "media", "media"),)

    def models(self) -> tuple[ModelRef, ...]:
        model = ModelRef("model", self.model_path, "model_path")
        if not self.enable_lora:
            return (model,)
        return (model, ModelRef("base_model", self.base_model_path, "base_model_path"))

    def output_dir(self) -> str:
        return self.results_dir
