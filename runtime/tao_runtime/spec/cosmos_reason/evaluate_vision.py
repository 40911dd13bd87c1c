"""How evaluation takes frames: the keys of every upstream version; those of its own decoders do nothing here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from tao_runtime.spec.base import Section
from tao_runtime.spec.cosmos_reason.custom import choose_frames
from tao_runtime.spec.field import Automl, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, key


class EvaluateVision(Section):
    """How frames are taken. Exactly one of fps and nframes (or num_frames)."""

    fps: PositiveFloat | None = key(
        None,
        "Rate at which frames are taken, in video time, instead of nframes. Use the one of training.",
        unit="frames/s",
        automl=Automl(enabled=True, minimum=1, maximum=3),
    )
    nframes: PositiveInt | None = key(
        8,
        "Frames taken from each clip, spread evenly. Set it to null to use fps.",
        unit="frames",
        automl=Automl(minimum=1, maximum=8),
    )
    num_frames: PositiveInt | None = key(
        None, "Newer name of nframes.", unit="frames", automl=Automl(enabled=True, minimum=1), since="head"
    )
    min_frames: PositiveInt | None = key(
        None, "Fewest frames that fps takes from a clip.", unit="frames", automl=Automl(enabled=False), since="head"
    )
    max_frames: PositiveInt | None = key(
        None, "Most frames that fps takes from a clip.", unit="frames", automl=Automl(enabled=False), since="head"
    )
    min_pixels: PositiveInt | None = key(None, "Lower limit of the area of one frame.", unit="pixels", since="head")
    max_pixels: PositiveInt | None = key(None, "Upper limit of the area of one frame.", unit="pixels", since="head")
    total_pixels: PositiveInt | None = key(
        None, "Upper limit of the area of all frames of a clip together.", unit="pixels", automl=Automl(minimum=1)
    )
    resized_height: PositiveInt | None = key(
        None, "Height that every frame is scaled to.", unit="pixels", automl=Automl(enabled=False), since="head"
    )
    resized_width: PositiveInt | None = key(
        None, "Width that every frame is scaled to.", unit="pixels", automl=Automl(enabled=False), since="head"
    )
    video_start: NonNegativeFloat | None = key(
        None, "Where in a clip sampling starts.", unit="s", automl=Automl(enabled=False), since="head"
    )
    video_end: PositiveFloat | None = key(
        None, "Where in a clip sampling ends.", unit="s", automl=Automl(enabled=False), since="head"
    )
    video_override_map: str = key("", "File of other paths for named videos.", since="head")
    video_decoder: Literal["pyav", "pynvvideocodec", "torchcodec-cuda-on-demand"] = key(
        "pyav", "Library that decodes. Only pyav decodes here; the others have no effect.", since="head"
    )
    frame_transfer: Literal["host_rgb", "device_rgbp"] = key(
        "host_rgb", "Where frames travel. Has no effect here.", since="head"
    )
    video_cache_size: NonNegativeInt = key(0, "Videos kept decoded. Has no effect here.", unit="videos", since="head")
    process_threads: PositiveInt = key(8, "Threads that prepare frames. Has no effect here.", since="head")
    decoder_device: Literal["cpu", "cuda"] = key("cpu", "Where decoding runs. Has no effect here.", since="head")
    decoder_cache_size: PositiveInt = key(4, "Decoders kept open. Has no effect here.", since="head")
    decoder_threads: PositiveInt = key(1, "Threads of a decoder. Has no effect here.", since="head")
    dataloader_num_workers: NonNegativeInt = key(1, "Processes that decode ahead. Has no effect here.", since="head")
    dataloader_prefetch_factor: PositiveInt = key(2, "Batches kept ready. Has no effect here.", since="head")
    dataloader_multiprocessing_context: Literal["spawn", "fork", "forkserver"] = key(
        "spawn", "How workers start. Has no effect here.", since="head"
    )
    dataloader_persistent_workers: bool = key(True, "Keep workers. Has no effect here.", since="head")

    @model_validator(mode="before")
    @classmethod
    def _choose_frames(cls, data: Any) -> Any:
        return choose_frames(data, "nframes", "num_frames")
