"""A folder of torch's distributed checkpoint: `.metadata` against the shard files `__<rank>_<n>.distcp`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tao_runtime.audit.codes import found, some
from tao_runtime.audit.folder import Folder, locate, shorten
from tao_runtime.audit.opcodes import PickleShapeError, Record, read_pickle
from tao_runtime.errors import Finding

METADATA: Final = ".metadata"
DISTCP: Final = ".distcp"
MAX_METADATA_BYTES: Final = 256 << 20
_FILE: Final = re.compile(r"^__(\d{1,6})_(\d{1,6})\.distcp$")
_DTYPES: Final = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64"}


@dataclass(frozen=True, slots=True)
class Stored:
    """What .metadata says of one tensor."""

    shape: tuple[int, ...]
    covered: int  # elements in its chunks
    dtype: str


@dataclass(frozen=True, slots=True)
class Shards:
    """A sharded checkpoint as its table of contents describes it."""

    tensors: Mapping[str, Stored] = field(default_factory=dict)
    num_bytes: int = 0  # of the shard files that are there
    ranks: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def num_parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())


def is_sharded(folder: Folder) -> bool:
    return METADATA in folder.files or any(name.endswith(DISTCP) for name in folder.files)


def read_shards(folder: Folder) -> Shards:
    """Read a sharded checkpoint without loading or executing any of it."""
    findings: list[Finding] = []
    sizes: dict[str, int] = {}
    for name in sorted(folder.files):
        if name.endswith(DISTCP):
            path, problems = locate(folder, name)
            findings.extend(problems)
            if path is not None:
                sizes[name] = path.stat().st_size
    ranks = {int(match[1]) for name in sizes if (match := _FILE.match(name))}
    if METADATA not in folder.files:
        saw = f"{len(sizes)} shard files, and no {METADATA}"
        findings.append(found("dcp-metadata-missing", folder.here, saw, f"{METADATA}, which is written last"))
        findings.extend(_files(folder, sizes, {}, ranks))
        return Shards({}, sum(sizes.values()), len(ranks), tuple(findings))
    tree, wrong = _metadata(folder)
    findings.extend(wrong)
    tensors = _tensors(tree)
    places = _places(tree)
    findings.extend(_files(folder, sizes, places, ranks))
    partly = [shorten(name) for name, t in tensors.items() if t.covered != math.prod(t.shape)]
    if partly:
        saw = f"{len(partly)} of {len(tensors)} tensors are not covered by their chunks: {some(partly)}"
        findings.append(found("dcp-chunk-missing", folder.where(METADATA), saw, "every element once"))
    return Shards(tensors, sum(sizes.values()), len(ranks), tuple(findings))


def _metadata(folder: Folder) -> tuple[Record, list[Finding]]:
    where = folder.where(METADATA)
    path, problems = locate(folder, METADATA)
    if path is None:
        return Record(""), list(problems)
    try:
        if path.stat().st_size > MAX_METADATA_BYTES:
            saw = f"{path.stat().st_size:,} bytes"
            return Record(""), [found("dcp-metadata", where, saw, f"at most {MAX_METADATA_BYTES:,}")]
        tree = read_pickle(path.read_bytes())
    except OSError as error:
        return Record(""), [found("unreadable", where, error.strerror or str(error), "a file that can be read")]
    except PickleShapeError as error:
        return Record(""), [found("dcp-metadata", where, shorten(str(error)), "torch's Metadata")]
    if not isinstance(tree, Record) or not isinstance(tree.get("state_dict_metadata"), dict):
        name = tree.name if isinstance(tree, Record) else type(tree).__name__
        return Record(""), [found("dcp-metadata", where, shorten(name), "torch's Metadata")]
    return tree, []


def _numbers(value: Any) -> tuple[int, ...] | None:
    """Return the numbers of a torch.Size."""
    if isinstance(value, Record) and len(value.args) == 1:
        value = value.args[0]
    whole = isinstance(value, tuple | list) and all(type(item) is int and item >= 0 for item in value)
    return tuple(value) if whole else None


def _tensors(tree: Record) -> dict[str, Stored]:
    tensors = {}
    for name, item in (tree.get("state_dict_metadata") or {}).items():
        if not isinstance(name, str) or not isinstance(item, Record):
            continue
        shape = _numbers(item.get("size"))
        if shape is None:
            continue  # a plain value, pickled into a shard
        chunks = item.get("chunks")
        sizes = [_numbers(chunk.get("sizes")) for chunk in chunks or () if isinstance(chunk, Record)]
        tensors[name] = Stored(shape, sum(math.prod(size) for size in sizes if size is not None), _dtype(item))
    return tensors


def _dtype(item: Record) -> str:
    """Return the type of a tensor; its properties are a tuple that begins with it."""
    properties = item.get("properties")
    state = properties.state if isinstance(properties, Record) else None
    first = state[0] if isinstance(state, tuple) and state else None
    name = first.name.removeprefix("torch.") if isinstance(first, Record) else "unknown"
    return _DTYPES.get(name, name)


def _places(tree: Record) -> dict[str, int]:
    """Return, for every file that the table names, where its last item ends."""
    ends: dict[str, int] = {}
    places = tree.get("storage_data")
    for item in places.values() if isinstance(places, dict) else ():
        if not isinstance(item, Record):
            continue
        name, offset, length = (item.get(key) for key in ("relative_path", "offset", "length"))
        if isinstance(name, str) and type(offset) is int and type(length) is int:
            ends[name] = max(ends.get(name, 0), offset + length)
    return ends


def _files(folder: Folder, sizes: Mapping[str, int], places: Mapping[str, int], ranks: set[int]) -> Iterator[Finding]:
    """Yield files that are not there or too short."""
    gaps = sorted(set(range(max(ranks, default=-1) + 1)) - ranks)
    named = {int(match[1]) for name in places if (match := _FILE.match(name))}
    # A rank that had nothing to write has no file: then the table names none of it either.
    gaps = [rank for rank in gaps if rank in named or not named]
    if gaps:
        saw = f"no file of rank {some([str(rank) for rank in gaps])}, and rank {max(ranks)} has one"
        yield found("dcp-rank-gap", folder.here, saw, f"files of ranks 0 to {max(ranks)}")
    lost = sorted(shorten(name) for name in places if name not in sizes and _rank(name) not in gaps)
    if lost:
        saw = f"{len(lost)} of {len(places)} shard files are not there: {some(lost)}"
        yield found("dcp-file-missing", folder.here, saw, f"every file that {METADATA} names")
    for name, end in sorted(places.items()):
        if name in sizes and sizes[name] < end:
            yield found("dcp-truncated", folder.where(name), f"{sizes[name]:,} bytes", f"{end:,} by {METADATA}")


def _rank(name: str) -> int | None:
    match = _FILE.match(name)
    return int(match[1]) if match else None
