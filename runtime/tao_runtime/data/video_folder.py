"""A folder of clips: `videos/*.mp4`, a caption in `metas/*.txt` each, its embedding in `t5_xxl/` where it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tao_runtime.data.clip_set import NO_CAPTION, TO_THE_END, ClipSet, Row
from tao_runtime.data.clips import Window
from tao_runtime.data.embedded import EMBEDDINGS, EmbeddingFold
from tao_runtime.data.facts import DatasetFacts
from tao_runtime.data.fold import At, Collector
from tao_runtime.data.paths import is_dir, is_file
from tao_runtime.data.progress import Progress
from tao_runtime.data.t5 import find_embedding
from tao_runtime.errors import InputError
from tao_runtime.spec.base import DatasetRef

VIDEOS, METAS = "videos", "metas"
SUFFIX: Final = ".mp4"


def probe_video_folder(ref: DatasetRef, progress: Progress | None = None) -> DatasetFacts:
    """Look at every clip, caption and embedding of a folder. Raises InputError if there is no such folder."""
    root = Path(ref.annotation)
    if not is_dir(root / VIDEOS):
        raise InputError(f"{root}: has no folder {VIDEOS}; want {VIDEOS}/*{SUFFIX} and {METAS}/*.txt")
    clips = ClipSet(ref, root, root / VIDEOS)
    embeddings = EmbeddingFold(clips.findings)
    paths = _clips(root)
    for index, path in enumerate(paths):
        clips.findings.failed = False
        caption = _caption(index, root / METAS / f"{path.stem}.txt", clips.findings)
        meta = root / METAS / f"{path.stem}.txt"
        embedded = embeddings.see(index, find_embedding(root / EMBEDDINGS, path.stem), caption, meta)
        windows = [(Window(0, TO_THE_END), len(caption.encode(errors="surrogatepass")), False)]
        clips.rows.append(Row(path, windows, offset=index, usable=not clips.findings.failed, embedded=embedded))
        if progress is not None and not index % 100:
            progress(f"{ref.label} captions", index, len(paths))
    return clips.facts(folder_sha256(root), progress, encoders=embeddings.finish())


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
