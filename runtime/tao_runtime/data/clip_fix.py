"""A set of clips written anew without what cannot be used: clips get a second name, or a copy on another disk."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from pydantic import JsonValue

from tao_runtime.data.embedded import EMBEDDINGS
from tao_runtime.data.facts import DatasetFacts
from tao_runtime.data.fold import At, Listener, RuleInfo
from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.patch import Patch, apply_patch, disjoint
from tao_runtime.data.paths import lies_in, link_or_copy, size_of
from tao_runtime.data.record_repair import Repaired
from tao_runtime.data.references import SUFFIXES
from tao_runtime.data.rewrite import Rewritten, set_apart, whole
from tao_runtime.data.rewrite import rewrite as rewrite_records
from tao_runtime.data.t5 import find_embedding
from tao_runtime.data.video_folder import METAS, SUFFIX, VIDEOS, clip_files, probe_video_folder
from tao_runtime.data.video_jsonl import embedding_stem, probe_video_jsonl
from tao_runtime.errors import InputError
from tao_runtime.spec.base import DatasetRef

Probe = Callable[..., DatasetFacts]
PROBES: Final[dict[str, Probe]] = {"video-jsonl": probe_video_jsonl, "video-folder": probe_video_folder}


class ClipRepair:
    """Repairs the records of a set of clips by what its rules say of them."""

    def __init__(self, ref: DatasetRef) -> None:
        """Raises InputError if the set cannot be read at all."""
        self.heard: dict[int, list[tuple[RuleInfo, str, Patch | None]]] = defaultdict(list)
        hear: Listener = self._hear
        self.facts = PROBES[ref.format](ref, listen=hear)

    def _hear(self, rule: RuleInfo, saw: str, at: At, patch: dict[str, JsonValue] | None) -> None:
        if at.record is not None:
            self.heard[at.record].append((rule, saw, patch))

    @property
    def is_needed(self) -> bool:
        return any(rule.severity == "error" or patch for heard in self.heard.values() for rule, _, patch in heard)

    def reasons(self, record: int) -> tuple[str, ...]:
        """Return why a record cannot be used."""
        heard = self.heard.get(record, ())
        return tuple(f"{rule.name}: {saw}" for rule, saw, _ in heard if rule.severity == "error")

    def repair(self, index: int, record: object) -> Repaired:
        """Return the record with the patches that it has, or why it cannot be used."""
        reasons = self.reasons(index)
        if reasons or not isinstance(record, dict):
            return Repaired(record if isinstance(record, dict) else None, (), reasons)
        patch = disjoint([each for *_, each in self.heard.get(index, ()) if each])
        applied = [rule.name for rule, _, each in self.heard.get(index, ()) if each and set(each) <= set(patch)]
        return Repaired(apply_patch(record, patch), tuple(dict.fromkeys(applied)))


def rewrite_clips(ref: DatasetRef, folder: Path) -> Rewritten | None:
    """Write the set into `folder`, with its clips, captions and embeddings. None: there is nothing to repair.

    Raises InputError if the set cannot be read at all, or its clips do not fit on the disk of the folder.
    """
    repair = ClipRepair(ref)
    strange = _misnamed(Path(ref.annotation)) if ref.format == "video-folder" else {}
    if not repair.is_needed and not strange:
        return None
    _fits((header.path for header in repair.facts.media if header is not None), folder)
    return _folder(ref, folder, repair, strange) if ref.format == "video-folder" else _lines(ref, folder, repair)


def _fits(files: Iterable[Path], folder: Path) -> None:
    """Raise InputError if files of another disk would fill the folder's."""
    home = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    needed = sum(size_of(path) for path in files if path.stat().st_dev != home.stat().st_dev)
    if needed > (free := shutil.disk_usage(home).free):
        saw = f"{needed / 1e9:.1f} GB of clips lie on another disk, and {free / 1e9:.1f} GB are free"
        raise InputError(f"--fix {folder}: {saw}; want a folder on the disk of the clips")


def _lines(ref: DatasetRef, folder: Path, repair: ClipRepair) -> Rewritten:
    source, root = Path(ref.annotation), repair.facts.media_root
    done = rewrite_records(source, folder / source.name, repair)
    for _, _, _, value in iter_array(done.target) if done.kept else ():
        record: Any = value  # it passed its rules
        name = record["vision_path"]
        if not Path(name).is_absolute() and lies_in(os.path.realpath(folder / name), (os.path.realpath(folder),)):
            link_or_copy(root / name, folder / name)
        for number in range(len(record["t2w_windows"])):
            stem = embedding_stem(source, name, number)
            if (embedding := find_embedding(stem.parent, stem.name)) is not None:
                link_or_copy(embedding, folder / embedding.relative_to(source.parent))
    return done


def _misnamed(root: Path) -> dict[Path, str]:
    """Return videos that are no clips only for their suffix, with the name that makes them clips."""
    folder = root / VIDEOS
    taken = {path.stem for path in clip_files(root)}
    videos = [path for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES["video"]]
    told = [path for path in videos if (root / METAS / f"{path.stem}.txt").is_file()]
    return {path: path.stem + SUFFIX for path in told if path.suffix != SUFFIX and path.stem not in taken}


def _folder(ref: DatasetRef, folder: Path, repair: ClipRepair, strange: dict[Path, str]) -> Rewritten:
    root = Path(ref.annotation)
    done = Rewritten(folder, folder.with_suffix(".quarantine.jsonl"), folder.with_suffix(".diff"))
    with ExitStack() as stack:
        apart, diff = stack.enter_context(whole(done.quarantine)), stack.enter_context(whole(done.diff))
        for record, file in enumerate(clip_files(root)):
            done.records += 1
            if reasons := repair.reasons(record):
                done.reasons[reasons[0].partition(":")[0]] += 1
                apart.write(set_apart(record, reasons, {"video": str(file)}))
                continue
            done.kept += 1
            _take(root, file, folder, file.name)
        for file, name in strange.items():
            done.records, done.kept, done.changed = done.records + 1, done.kept + 1, done.changed + 1
            done.applied["clips/left-out"] += 1
            _take(root, file, folder, name)
            diff.write(f"{VIDEOS}/{file.name} -> {VIDEOS}/{name}\n".encode())
    return done


def _take(root: Path, file: Path, folder: Path, name: str) -> None:
    """Give a clip, its caption and its embedding a second name."""
    link_or_copy(file, folder / VIDEOS / name)
    link_or_copy(root / METAS / f"{file.stem}.txt", folder / METAS / f"{file.stem}.txt")
    if (embedding := find_embedding(root / EMBEDDINGS, file.stem)) is not None:
        link_or_copy(embedding, folder / EMBEDDINGS / embedding.name)
