"""What a model's files alone tell: where it lies, whether it is whole, its size, its vision geometry."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tao_runtime.data.digest import weights_digest
from tao_runtime.data.facts import ModelFacts, VisionGeometry
from tao_runtime.spec.base import ModelRef

TOKEN_VARIABLES: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
MAX_HEADER_BYTES: Final = 100_000_000  # the safetensors format refuses longer headers
_WEIGHTS = "model.safetensors"
_STEMS: Final = ("model", "diffusion_pytorch_model")  # of transformers and of diffusers
RUN, EXPORTED = "run.json", "export/model"  # of a complete run, and the model it made
PIPELINE, NETWORK = "model_index.json", "transformer"  # a folder of diffusers, and the network in it
_TOKENIZER_CONFIG = "tokenizer_config.json"
_ADAPTER, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def hub_home() -> Path:
    """The home of the hub's files: HF_HOME, or the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HF_HOME") or Path(cache) / "huggingface")


def hub_cache() -> Path:
    """The hub's download cache, by its documented layout."""
    return Path(os.environ.get("HF_HUB_CACHE") or hub_home() / "hub")


def has_token() -> bool:
    """Tell whether a hub token is there. Its value is not read."""
    file = Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token")
    return any(os.environ.get(name) for name in TOKEN_VARIABLES) or file.is_file()


def local_directory(ref: ModelRef) -> Path | None:
    """Return the directory that holds a model on this machine: the path itself, or its snapshot in the hub cache.

    A run stands for what it exported: with an adapter, the model that has it merged.
    """
    path = Path(ref.location)
    if not ref.location:  # Path("") is the working directory
        return None
    if path.is_dir():
        return path / EXPORTED if (path / RUN).is_file() and (path / EXPORTED).is_dir() else path
    if ref.location.count("/") != 1 or ref.location.startswith((".", "/", "~")):
        return None
    folder = hub_cache() / ("models--" + ref.location.replace("/", "--"))
    revision = ref.revision or "main"
    pointer = folder / "refs" / revision
    commit = pointer.read_text().strip() if pointer.is_file() else revision
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def probe_model(ref: ModelRef) -> ModelFacts:
    """Look at a model's files. Reads headers and JSON only; a model that is not here has `directory` None."""
    directory = local_directory(ref)
    if directory is None:
        return ModelFacts(
            ref.label,
            ref.location,
            None,
            {},
            None,
            None,
            VisionGeometry(),
            has_token=has_token(),
            is_file=Path(ref.location).is_file(),
        )
    is_adapter = (directory / _ADAPTER).is_file()
    missing: list[str] = []
    folder = network_folder(directory)
    config = read_json(folder / (_ADAPTER if is_adapter else "config.json"), missing)
    shards = [_ADAPTER_WEIGHTS] if is_adapter else _shards(folder, missing)
    sizes = [_tensor_sizes(folder / name, missing) for name in shards]
    if not is_adapter and folder == directory and not (directory / "tokenizer.json").is_file():
        missing.append("tokenizer.json")
    whole = bool(sizes) and None not in sizes
    counted = [size for size in sizes if size is not None]
    return ModelFacts(
        label=ref.label,
        location=ref.location,
        directory=directory,
        config=config,
        num_parameters=sum(size[0] for size in counted) if whole else None,
        weight_bytes=sum(size[1] for size in counted) if whole else None,
        geometry=read_geometry(directory, config),
        missing=tuple(missing),
        has_token=has_token(),
        is_adapter=is_adapter,
        weights_sha256=weights_digest(folder, shards) if whole else None,
        text_length=_text_length(directory),
    )


def network_folder(directory: Path) -> Path:
    """Return the folder of a model's configuration and weights: inside of a pipeline, or the folder itself."""
    return directory / NETWORK if (directory / PIPELINE).is_file() else directory


def tokenizer_folder(directory: Path) -> Path:
    """Return the folder of a text encoder's tokenizer: the encoder's own, or the one beside it in a pipeline."""
    beside = directory.parent / "tokenizer"
    return beside if not (directory / _TOKENIZER_CONFIG).is_file() and beside.is_dir() else directory


def _text_length(directory: Path) -> int | None:
    """Return the most tokens of a text by the tokenizer's configuration; None where it sets no limit."""
    length = read_json(tokenizer_folder(directory) / _TOKENIZER_CONFIG).get("model_max_length")
    return length if type(length) is int and 0 < length < 1 << 20 else None


def read_json(path: Path, missing: list[str] | None = None) -> dict[str, object]:
    """Return a JSON object from a file; empty, and named in `missing`, if it is not there or is not one."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        value, why = None, ""
    except (OSError, ValueError, RecursionError):
        value, why = None, " (not valid JSON)"
    else:
        why = " (not an object)"
    if isinstance(value, dict):
        return value
    if missing is not None:
        missing.append(path.name + why)
    return {}


def _shards(directory: Path, missing: list[str]) -> list[str]:
    """Return the names of the weight files that a snapshot must have."""
    stem = next((stem for stem in _STEMS if any(directory.glob(f"{stem}.safetensors*"))), None)
    index = f"{stem}.safetensors.index.json"
    if stem is None or not (directory / index).is_file():
        return [f"{stem}.safetensors" if stem else _WEIGHTS]
    names = read_json(directory / index, missing).get("weight_map")
    if not isinstance(names, dict) or not names:
        missing.append(f"{index} (no weight_map)")
        return []
    return sorted({str(name) for name in names.values()})


def _tensor_sizes(path: Path, missing: list[str]) -> tuple[int, int] | None:
    """Return (parameters, bytes) by a safetensors header: 8 bytes of length, then JSON. The data must all be there."""
    try:
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(length)) if length <= MAX_HEADER_BYTES else None
        tensors = [value for key, value in header.items() if key != "__metadata__"] if header is not None else []
        end = max((tensor["data_offsets"][1] for tensor in tensors), default=0)
        parameters = sum(math.prod(tensor["shape"]) for tensor in tensors)
    except FileNotFoundError:
        missing.append(path.name)
        return None
    except (OSError, ValueError, struct.error, AttributeError, KeyError, TypeError, IndexError, RecursionError):
        missing.append(f"{path.name} (not a safetensors file)")
        return None
    if path.stat().st_size < 8 + length + end:
        missing.append(f"{path.name} (truncated)")
        return None
    return parameters, end


def read_geometry(directory: Path, config: Mapping[str, object]) -> VisionGeometry:
    """Return how the model's own files cut media; a key that no file has keeps its default."""
    joint = read_json(directory / "processor_config.json")
    image = {**_table(joint, "image_processor"), **read_json(directory / "preprocessor_config.json")}
    video = {**_table(joint, "video_processor"), **read_json(directory / "video_preprocessor_config.json")}
    vision = _table(config, "vision_config")
    both = {**image, **video}
    named = {
        "patch_size": both.get("patch_size", vision.get("patch_size")),
        "temporal_patch_size": both.get("temporal_patch_size", vision.get("temporal_patch_size")),
        "merge_size": both.get("merge_size", vision.get("spatial_merge_size")),
        "video_min_pixels": _table(video, "size").get("shortest_edge", video.get("min_pixels")),
        "video_max_pixels": _table(video, "size").get("longest_edge", video.get("max_pixels")),
        "image_min_pixels": _table(image, "size").get("shortest_edge", image.get("min_pixels")),
        "image_max_pixels": _table(image, "size").get("longest_edge", image.get("max_pixels")),
        "min_frames": video.get("min_frames"),
        "max_frames": video.get("max_frames"),
    }
    numbers = {key: value for key, value in named.items() if type(value) is int and value > 0}
    triples = {
        key: (float(value[0]), float(value[1]), float(value[2]))
        for key, value in (("mean", both.get("image_mean")), ("std", both.get("image_std")))
        if isinstance(value, list) and len(value) == 3 and all(type(one) in (int, float) for one in value)
    }
    return VisionGeometry(**numbers, **triples)  # type: ignore[arg-type]


def _table(tree: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = tree.get(key)
    return value if isinstance(value, dict) else {}
