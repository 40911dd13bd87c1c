"""A folder of clips: `videos/*.mp4`, a caption in `metas/*.txt` each, its embedding in `t5_xxl/` where it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tao_runtime.data.clip_set import NO_CAPTION, TO_THE_END, ClipSet, Progress, Row
from tao_runtime.data.clips import Window
from tao_runtime.data.facts import DatasetFacts
from tao_runtime.data.fold import At, Collector, declare
from tao_runtime.data.paths import is_dir, is_file
from tao_runtime.data.t5 import EmbeddingError, caption_hash, find_embedding, read_embedding
from tao_runtime.errors import InputError
from tao_runtime.spec.base import DatasetRef

VIDEOS, METAS, EMBEDDINGS = "videos", "metas", "t5_xxl"
SUFFIX: Final = ".mp4"
_READ = "upstream pads whatever it reads, and trains on it"

WRONG_EMBEDDING = declare(
    "clips/embedding", "error", "A caption embedding is [1 to 512, 1024] float16, and finite.", source=_READ
)
UNSAFE = declare(
    "clips/embedding-unsafe",
    "error",
    "A pickled embedding holds arrays, and nothing that runs when it is loaded.",
    source="pickle is a program; upstream loads it",
)
STALE = declare(
    "clips/embedding-stale",
    "error",
    "An embedding is that of its clip's caption.",
    source="a caption that is edited later trains nothing unless it is embedded again",
)
OLDER = declare(
    "clips/embedding-older",
    "warning",
    "An embedding that does not say its caption is not older than the caption's file.",
    source="a caption that is edited later trains nothing unless it is embedded again",
)


def probe_video_folder(ref: DatasetRef, progress: Progress | None = None) -> DatasetFacts:
    """Look at every clip, caption and embedding of a folder. Raises InputError if there is no such folder."""
    root = Path(ref.annotation)
    if not is_dir(root / VIDEOS):
        raise InputError(f"{root}: has no folder {VIDEOS}; want {VIDEOS}/*{SUFFIX} and {METAS}/*.txt")
    clips = ClipSet(ref, root, root / VIDEOS)
    for index, path in enumerate(_clips(root)):
        clips.findings.failed = False
        caption = _caption(index, root / METAS / f"{path.stem}.txt", clips.findings)
        embedded = _embedded(index, root, path.stem, caption, clips.findings)
        windows = [(Window(0, TO_THE_END), len(caption.encode(errors="surrogatepass")), False)]
        clips.rows.append(Row(path, windows, offset=index, usable=not clips.findings.failed, embedded=embedded))
        if progress is not None and not index % 100:
            progress(f"{ref.label} captions", index)
    return clips.facts(folder_sha256(root), progress)


def _mark(path: Path, caption: str) -> bytes:
    return f"{path.name}\0{path.stat().st_size}\0{caption}\0".encode(errors="surrogatepass")


def folder_sha256(root: Path) -> str:
    """Return the hash that probing gives a folder: of every clip's name, size and caption."""
    digest = hashlib.sha256()
    for path in _clips(root):
        digest.update(_mark(path, read_caption(root, path.stem)))
    return digest.hexdigest()


def _clips(root: Path) -> list[Path]:
    return sorted((root / VIDEOS).glob(f"*{SUFFIX}"))


def read_clip(root: Path, offset: int, size: int = 0) -> Mapping[str, object]:
    """Return clip `offset` of a folder: its file, its caption, and the file of its embedding or None."""
    return read_file(root, _clips(root)[offset])


def read_file(root: Path, path: Path) -> Mapping[str, object]:
    """Return the same of a clip whose file is known."""
    embedding = find_embedding(root / EMBEDDINGS, path.stem)
    return {
        "video": str(path),
        "caption": read_caption(root, path.stem),
        "embedding": str(embedding) if embedding else None,
    }


def read_caption(root: Path, stem: str) -> str:
    """Return the caption of a clip; '' if it has none."""
    try:
        return (root / METAS / f"{stem}.txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _caption(index: int, path: Path, findings: Collector) -> str:
    text = read_caption(path.parent.parent, path.stem)
    if not text:
        saw = "an empty file, or not UTF-8" if is_file(path) else f"no {METAS}/{path.name}"
        findings.add(NO_CAPTION, saw, "the text of the clip", at=At(index, file=str(path)))
    return text


def _embedded(index: int, root: Path, stem: str, caption: str, findings: Collector) -> bool:
    path = find_embedding(root / EMBEDDINGS, stem)
    if path is None:
        return False
    at, again = At(index, file=str(path)), "make it again from the caption"
    try:
        found = read_embedding(path)
    except EmbeddingError as error:
        saw, _, want = str(error).partition("; want ")
        findings.add(UNSAFE if error.unsafe else WRONG_EMBEDDING, saw, want or "arrays only", at=at, fix=again)
        return False
    if found.caption_sha256 is not None:
        if found.caption_sha256 != caption_hash(caption):
            findings.add(STALE, "the embedding of another text", "that of the caption", at=at, fix=again)
        return True
    meta = root / METAS / f"{stem}.txt"
    if is_file(meta) and path.stat().st_mtime_ns < meta.stat().st_mtime_ns:
        findings.add(OLDER, "older than its caption, and does not say its text", "one made since", at=at, fix=again)
    return True
