"""Facts: what the world looks like before a run. Values only; `data/probe.py` makes them, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tao_runtime.data.source_video import Cut
from tao_runtime.data.t5 import Encoder
from tao_runtime.errors import Finding

MediaKind = Literal["video", "image"]


@dataclass(frozen=True, slots=True)
class MediaHeader:
    """What the container header of one media file says. Nothing is decoded."""

    path: Path
    kind: MediaKind
    width: int  # pixels
    height: int  # pixels
    num_frames: int  # 1 for an image
    fps: float  # average frame rate; 0.0 for an image
    codec: str
    size_bytes: int
    mtime_ns: int = field(default=0, compare=False)  # when the file was changed last; 0: not asked
    content: str = field(default="", compare=False)  # hash of a picture inside another file; empty: a file of its own

    @property
    def duration_s(self) -> float:
        return self.num_frames / self.fps if self.fps else 0.0


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """Per-record columns of an annotation file, in file order. N records, M media references (CSR)."""

    offset: npt.NDArray[np.int64]  # [N] byte offset of the record in the file
    size: npt.NDArray[np.int32]  # [N] bytes of the record in the file
    text_bytes: npt.NDArray[np.int32]  # [N] UTF-8 bytes of all turns: an upper bound of their byte-level BPE tokens
    answer_bytes: npt.NDArray[np.int32]  # [N] UTF-8 bytes of the supervised turns
    num_turns: npt.NDArray[np.int32]  # [N]
    media_start: npt.NDArray[np.int32]  # [N + 1] into media_index
    media_index: npt.NDArray[np.int32]  # [M] into DatasetFacts.media
    usable: npt.NDArray[np.bool_]  # [N] false: a record with an error finding

    def __len__(self) -> int:
        return len(self.offset)

    def media_of(self, record: int) -> npt.NDArray[np.int32]:
        """Indices into `DatasetFacts.media` of the files that a record names, in order."""
        return self.media_index[self.media_start[record] : self.media_start[record + 1]]


@dataclass(frozen=True, slots=True)
class WindowColumns:
    """The windows of the clips of a data set that is made into video. N records, W windows (CSR)."""

    start: npt.NDArray[np.int32]  # [N + 1] into the others
    first: npt.NDArray[np.int32]  # [W] frame
    last: npt.NDArray[np.int32]  # [W] frame, inclusive; the largest number: to the end of the clip
    interval: npt.NDArray[np.int32]  # [W] frames of the file per frame of a sample
    caption_bytes: npt.NDArray[np.int32]  # [W] UTF-8 bytes of the caption; 0: none
    structured: npt.NDArray[np.bool_]  # [W] the caption is JSON
    embedded: npt.NDArray[np.bool_]  # [N] a caption embedding lies beside the clip, and is one
    encoders: tuple[Encoder, ...] = ()  # whose the embeddings are, as far as they say


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """One annotation file and everything it points to."""

    label: str  # train, val, eval, calibration
    annotation: Path  # the file (root mode already resolved)
    media_root: Path
    sha256: str  # of the annotation file's bytes
    columns: RecordColumns
    media: tuple[MediaHeader | None, ...]  # unique files in order of first mention; None: could not be probed
    findings: tuple[Finding, ...] = ()  # what the record rules (folds) found
    windows: WindowColumns | None = None  # only of data that are made into video
    cuts: Mapping[int, Cut] = field(default_factory=dict)  # by record: what it says of its source video

    @property
    def num_records(self) -> int:
        return len(self.columns)

    @property
    def num_usable(self) -> int:
        return int(self.columns.usable.sum())


@dataclass(frozen=True, slots=True)
class VisionGeometry:
    """How the model's own processor files cut media into patches. Defaults: Qwen3-VL (transformers 5.23.0)."""

    patch_size: int = 16  # pixels
    temporal_patch_size: int = 2  # frames
    merge_size: int = 2  # patches per token and side
    video_min_pixels: int = 128 * 32 * 32  # frames x height x width
    video_max_pixels: int = 32 * 32 * 768
    image_min_pixels: int = 256 * 256  # height x width
    image_max_pixels: int = 4096 * 4096
    min_frames: int = 4
    max_frames: int = 768
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    processor: str = ""  # of video, as the model's files name it; empty: they do not


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What can be known of a model without loading it."""

    label: str
    location: str  # as given, without scheme
    directory: Path | None  # the local snapshot; None: not on this machine
    config: Mapping[str, object]  # config.json; empty if not local
    num_parameters: int | None  # from the safetensors headers
    weight_bytes: int | None
    geometry: VisionGeometry
    missing: tuple[str, ...] = ()  # files a complete snapshot needs and this one lacks
    has_token: bool = False  # a hub token is present (its value is never read into anything)
    is_adapter: bool = False  # a peft adapter directory
    weights_sha256: str | None = None  # of headers and pieces (data/digest.py); None if not local or not whole
    files_sha256: str | None = None  # of all its files that are no weights; None if not local
    is_pipeline: bool = False  # a folder of diffusers, its network inside
    is_file: bool = False  # one file of weights, not a directory
    text_length: int | None = None  # most tokens of a text, by the tokenizer that belongs to it
    tokenizer: Mapping[str, object] = field(default_factory=dict)  # config of the video tokenizer beside it


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The machine that will run. What cannot be asked without torch is None."""

    num_gpus: int
    gpu_memory_bytes: int | None
    num_cpus: int
    memory_bytes: int
    free_disk_bytes: int  # on the file system of the output directory
    output_dir_exists: bool = False
    gpu_name: str | None = None  # as the driver says; None: no GPU
    world_size: int | None = None  # processes asked for; None: as the spec's degrees say


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """What a model that is evaluated learnt from, as the plan of its run says, looked at again."""

    run: Path  # the run directory
    data: DatasetFacts | None = None  # None: it could not be looked at again
    left_out: frozenset[int] = frozenset()  # records of `data` that nothing was learnt from
    same_content: tuple[tuple[Path, ...], ...] = ()  # files of it and of the evaluation that hold the same bytes
    validation: str = ""  # annotation of what the run was validated on; empty: nothing
    validation_records: tuple[int, ...] = ()  # which records of it; empty: all
    trouble: str = ""  # why it was not compared, or not all of it


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything `probe(spec)` saw."""

    host: HostFacts
    models: Mapping[str, ModelFacts] = field(default_factory=dict)  # by label
    datasets: Mapping[str, DatasetFacts] = field(default_factory=dict)  # by label
    findings: tuple[Finding, ...] = ()  # what probing itself ran into: a missing file, bad syntax
    same_content: tuple[tuple[Path, ...], ...] = ()  # files of several data sets that hold the same bytes
    num_decoded: int = 0  # files whose sampled frames were decoded, now or in an earlier scan
    offline: bool = False  # asked to do without the hub
    trained_on: tuple[TrainedOn, ...] = ()  # by run, nearest first: what the evaluated model learnt from
