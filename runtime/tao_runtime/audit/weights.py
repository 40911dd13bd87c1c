"""The weights of a folder: which files belong together, the index against them, one table of all tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tao_runtime.audit.codes import found, some
from tao_runtime.audit.folder import Folder, locate, number, read_json, shorten, table
from tao_runtime.audit.header import Header, Tensor, read_header
from tao_runtime.errors import Finding

SUFFIX: Final = ".safetensors"
INDEX_SUFFIX: Final = ".safetensors.index.json"
_SHARD: Final = re.compile(
    r"^(?P<stem>.+?)[-_.](?P<number>\d{5})-of-(?P<count>\d{5})(?P<variant>\.[a-z0-9]+)?\.safetensors$"
)
# Which set of weights a folder is about, where there are several (half precision, moving averages): loaders take these.
_FIRST: Final = ("adapter_model", "model", "diffusion_pytorch_model", "pytorch_lora_weights")


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors that a loader of the folder would get, and what is wrong with the files."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def num_parameters(self) -> int:
        return sum(tensor.size for tensor in self.tensors.values())

    @property
    def num_bytes(self) -> int:
        return sum(tensor.num_bytes for tensor in self.tensors.values())

    @property
    def is_whole(self) -> bool:
        """No file is broken or missing: what is not among the tensors then is not there."""
        return not any(finding.severity == "error" for finding in self.findings)

    def dtypes(self) -> dict[str, int]:
        """Tensors by type, most elements first."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors.values():
            sizes[tensor.dtype] += tensor.size
        return {dtype: sum(t.dtype == dtype for t in self.tensors.values()) for dtype, _ in sizes.most_common()}


def has_weights(folder: Folder) -> bool:
    return any(name.endswith((SUFFIX, INDEX_SUFFIX)) for name in folder.files)


def read_weights(folder: Folder) -> Weights:
    """Read every header of a folder, and return the set that loaders take."""
    sets, headers, findings = _sets(folder)
    if not sets:
        return Weights(findings=tuple(findings))
    main = min(sets, key=_rank)
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for name in sets[main]:
        header = headers.get(name, Header())
        metadata.update(header.metadata or {})
        twice = [shorten(tensor.name) for tensor in header.tensors if tensor.name in tensors]
        if twice:
            findings.append(found("duplicate-tensor", folder.where(name), f"{some(twice)}: also in another file",
                                  "each name once"))  # fmt: skip
        tensors.update({tensor.name: tensor for tensor in header.tensors if tensor.name not in tensors})
    if main.endswith(INDEX_SUFFIX):
        findings.extend(_against_index(folder, main, tensors))
    empty = [shorten(name) for name, tensor in tensors.items() if tensor.size == 0]
    if empty:
        saw = f"{len(empty)} of {len(tensors)} tensors have no elements: {some(empty)}"
        findings.append(found("empty-tensor", folder.here, saw, "whole tensors"))
    return Weights(tensors, tuple(sets[main]), metadata, tuple(findings))


def _rank(name: str) -> tuple[int, int, str]:
    """Order sets as loaders do: by name, the plain one before variants, one whole file before shards."""
    stem = name.split(".")[0]
    return (_FIRST.index(stem) if stem in _FIRST else len(_FIRST)), name.count("."), name


def _sets(folder: Folder) -> tuple[dict[str, list[str]], dict[str, Header], list[Finding]]:
    """Return the files of each set by the name of its index or only file, their headers, and findings."""
    findings: list[Finding] = []
    sets: dict[str, list[str]] = {}
    headers: dict[str, Header] = {}
    for index in sorted(name for name in folder.files if name.endswith(INDEX_SUFFIX)):
        names, problems = _indexed(folder, index)
        findings.extend(problems)
        if names:
            sets[index] = names
    listed = {name for names in sets.values() for name in names}
    loose = sorted(name for name in folder.files - listed if name.endswith(SUFFIX) and not name.startswith("."))
    for name in [*sorted(listed), *loose]:
        path, outside = locate(folder, name)
        findings.extend(outside)
        if path is not None:
            headers[name] = read_header(path, folder.where(name))
            findings.extend(headers[name].findings)
    shards = _shards(loose) if not sets else {}
    for stem, names in shards.items():
        sets[stem + SUFFIX] = names
        saw = f"{len(names)} shards, and no index"
        findings.append(found("index-missing", folder.where(names[0]), saw, f"{stem}{INDEX_SUFFIX}"))
    if listed and loose:
        for name in loose:
            saw = "a weight file that no index names"
            findings.append(found("file-unindexed", folder.where(name), saw, "only files of the index"))
    grouped = {name for names in shards.values() for name in names}
    sets.update({name: [name] for name in loose if name not in grouped and not listed})
    return sets, headers, findings


def _shards(names: list[str]) -> dict[str, list[str]]:
    """Group files that are named as shards by what stands before their numbers."""
    groups: dict[str, list[str]] = {}
    for name in names:
        match = _SHARD.match(name)
        if match and int(match["count"]) > 1:
            groups.setdefault(match["stem"], []).append(name)
    return groups


def _weight_map(folder: Folder, index: str) -> dict[str, str]:
    names = table(read_json(folder, index).value, "weight_map")
    return {name: file for name, file in names.items() if isinstance(file, str)}


def _indexed(folder: Folder, index: str) -> tuple[list[str], list[Finding]]:
    """Return the files that an index names and that are there, and what is wrong with the index itself."""
    read = read_json(folder, index)
    where = folder.where(index)
    if read.findings:
        return [], list(read.findings)
    names = _weight_map(folder, index)
    if not names or len(names) != len(table(read.value, "weight_map")):
        return [], [found("index-invalid", where, "no weight_map of names to files", "a weight_map")]
    findings: list[Finding] = []
    files = []
    for file in sorted(set(names.values())):
        path, problems = locate(folder, file)
        findings.extend(problems)
        if path is None:
            continue
        if path.is_file():
            files.append(file)
        else:
            tensors = [shorten(name) for name, home in names.items() if home == file]
            saw = f"{shorten(file)} is not there, with {len(tensors)} tensors: {some(tensors)}"
            findings.append(found("index-dangling-file", where, saw, "every file of the index"))
    return files, findings


def _against_index(folder: Folder, index: str, tensors: Mapping[str, Tensor]) -> Iterator[Finding]:
    """Yield what the index says of the files that are there and is not so."""
    where = folder.where(index)
    names = _weight_map(folder, index)
    present = {str(tensor.file) for tensor in tensors.values()}
    dangling, size = [], 0
    for name, file in names.items():
        tensor = tensors.get(name)
        if tensor is not None and tensor.file == folder.path / file:
            size += tensor.num_bytes
        elif str(folder.path / file) in present:
            dangling.append(shorten(name))
    if dangling:
        saw = f"{len(dangling)} tensors that are not in the file named for them: {some(dangling)}"
        yield found("index-dangling-tensor", where, saw, "tensors where the index says")
    loose = [shorten(name) for name in tensors if name not in names]
    if loose:
        yield found("tensor-unindexed", where, f"{len(loose)} tensors are not in it: {some(loose)}", "every tensor")
    total = number(table(read_json(folder, index).value, "metadata"), "total_size")
    whole = not dangling and not loose and len(names) == len(tensors)
    if total is not None and whole and total != size:
        yield found("index-size", where, f"total_size {total:,}", f"{size:,}, the bytes of its tensors")
