"""What a model's files alone tell: where it lies, whether it is whole, its size, its vision geometry."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tao_runtime.data.commit import hash_files
from tao_runtime.data.digest import files_digest, pieces_digest, weights_digest
from tao_runtime.data.facts import ModelFacts, VisionGeometry
from tao_runtime.data.paths import is_dir, is_file
from tao_runtime.spec.base import ModelRef

TOKEN_VARIABLES: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
MAX_HEADER_BYTES: Final = 100_000_000  # the safetensors format refuses longer headers
_WEIGHTS = "model.safetensors"
_STEMS: Final = ("model", "diffusion_pytorch_model")  # of transformers and of diffusers
RUN, EXPORTED = "run.json", "export/model"  # of a complete run, and the model it made
PIPELINE, NETWORK = "model_index.json", "transformer"  # a folder of diffusers, and the network in it
SHARDED, CONTENTS = "model", "contents.json"  # weights in torch's distributed layout, and their table of contents
VIDEO_TOKENIZER = "vae"  # and beside it
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
    return any(os.environ.get(name) for name in TOKEN_VARIABLES) or is_file(file)


def local_directory(ref: ModelRef) -> Path | None:
    """Return the directory that holds a model on this machine: the path itself, or its snapshot in the hub cache.

    A run stands for what it exported: with an adapter, the model that has it merged.
    """
    path = Path(ref.location)
    if not ref.location:  # Path("") is the working directory
        return None
    if is_dir(path):
        return path / EXPORTED if is_file(path / RUN) and is_dir(path / EXPORTED) else path
    if ref.location.count("/") != 1 or ref.location.startswith((".", "/", "~")):
        return None
    folder = hub_cache() / ("models--" + ref.location.replace("/", "--"))
    revision = ref.revision or "main"
    pointer = folder / "refs" / revision
    commit = pointer.read_text().strip() if is_file(pointer) else revision
    snapshot = folder / "snapshots" / commit
    return snapshot if is_dir(snapshot) else None


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
            is_file=is_file(Path(ref.location)),
            files_sha256=_file_digest(Path(ref.location)),
        )
    is_adapter = is_file(directory / _ADAPTER)
    missing: list[str] = []
    folder = network_folder(directory)
    config = read_json(folder / (_ADAPTER if is_adapter else "config.json"), missing)
    is_sharded = not is_adapter and (folder / SHARDED / CONTENTS).is_file()
    shards = [_ADAPTER_WEIGHTS] if is_adapter else [] if is_sharded else _shards(folder, missing)
    sizes = [_tensor_sizes(folder / name, missing) for name in shards]
    if is_sharded:
        sizes = [_contents_sizes(folder / SHARDED, missing)]
    if not is_adapter and folder == directory and not is_file(directory / "tokenizer.json"):
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
        weights_sha256=_digest(folder, shards, is_sharded=is_sharded) if whole else None,
        files_sha256=files_digest(directory),
        is_pipeline=is_file(directory / PIPELINE),
        text_length=_text_length(directory),
        tokenizer=read_json(directory / VIDEO_TOKENIZER / "config.json"),
    )


def _file_digest(path: Path) -> str | None:
    """Return a digest of one file of weights; None if there is none that can be read."""
    try:
        return pieces_digest([path]) if is_file(path) else None
    except OSError:
        return None


def network_folder(directory: Path) -> Path:
    """Return the folder of a model's configuration and weights: inside of a pipeline, or the folder itself."""
    return directory / NETWORK if is_file(directory / PIPELINE) else directory


def tokenizer_folder(directory: Path) -> Path:
    """Return the folder of a text encoder's tokenizer: the encoder's own, or the one beside it in a pipeline."""
    beside = directory.parent / "tokenizer"
    return beside if not is_file(directory / _TOKENIZER_CONFIG) and is_dir(beside) else directory


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
    if stem is None or not is_file(directory / index):
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


def write_contents(folder: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Write the table of contents of a folder of torch's distributed layout, whose own is a pickle."""
    names = [path.name for path in folder.iterdir() if path.is_file() and path.name != CONTENTS]
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha} for name, sha in _hashed(folder, names)}
    table = {name: [code, list(shape)] for name, (code, shape) in tensors.items()}
    text = json.dumps({"schema": "tao-run/contents/1", "tensors": table, "files": files}, indent=1)
    (folder / CONTENTS).write_text(text)


def _hashed(folder: Path, names: list[str]) -> list[tuple[str, str]]:
    return sorted(hash_files(folder, names).items())


_BITS: Final = re.compile(r"\d+$")


def _contents_sizes(folder: Path, missing: list[str]) -> tuple[int, int] | None:
    """Return (parameters, bytes) by the table of contents; every file that it names must be there, with its size."""
    table = read_json(folder / CONTENTS, missing)
    try:
        files = {str(name): int(each["bytes"]) for name, each in table["files"].items()}  # type: ignore[attr-defined]
        tensors = [(str(code), math.prod(shape)) for code, shape in table["tensors"].values()]  # type: ignore[attr-defined]
        num_bytes = sum(count * _code_bytes(code) for code, count in tensors)
    except (KeyError, TypeError, ValueError, AttributeError):
        missing.append(f"{CONTENTS} (not a table of contents)")
        return None
    for name, size in files.items():
        path = folder / name
        if not path.is_file():
            missing.append(f"{SHARDED}/{name}")
        elif path.stat().st_size != size:
            missing.append(f"{SHARDED}/{name} (truncated)")
        else:
            continue
        return None
    return sum(count for _, count in tensors), num_bytes


def _code_bytes(code: str) -> int:
    bits = _BITS.search(code)
    return int(bits.group()) // 8 if bits else 1


def _digest(folder: Path, shards: list[str], *, is_sharded: bool) -> str | None:
    """Return a digest of the weights; the table of contents has the sha256 of every file."""
    if not is_sharded:
        return weights_digest(folder, shards)
    return hashlib.sha256((folder / SHARDED / CONTENTS).read_bytes()).hexdigest()


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
    return VisionGeometry(**numbers, **triples, processor=str(video.get("video_processor_type", "")))  # type: ignore[arg-type]


def _table(tree: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = tree.get(key)
    return value if isinstance(value, dict) else {}
