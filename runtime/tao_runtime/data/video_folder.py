"""A folder of clips: `videos/*.mp4`, a caption in `metas/*.txt` each, its embedding in `t5_xxl/` where it is made."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tao_runtime.data.caption_rules import T5, judge_caption
from tao_runtime.data.captions import says_nothing
from tao_runtime.data.clip_set import NO_CAPTION, OUTSIDE, TO_THE_END, ClipSet, Row
from tao_runtime.data.clips import Window
from tao_runtime.data.embedded import EMBEDDINGS, EmbeddingFold
from tao_runtime.data.facts import DatasetFacts
from tao_runtime.data.fold import At, Collector, Listener, declare, quote
from tao_runtime.data.paths import homes, is_dir, is_file, lies_in, size_of
from tao_runtime.data.progress import Progress
from tao_runtime.data.references import SUFFIXES
from tao_runtime.data.t5 import find_embedding
from tao_runtime.errors import InputError
from tao_runtime.spec.base import DatasetRef

VIDEOS, METAS = "videos", "metas"
SUFFIX: Final = ".mp4"
SHOWN: Final = 3  # files that a finding names
LEFT_OUT = declare(
    "clips/left-out",
    "warning",
    "Every video in the folder of clips is one of them, and every caption belongs to one.",
    source="a run on half of the data set ends as green as one on all of it",
)


def probe_video_folder(
    ref: DatasetRef, progress: Progress | None = None, *, listen: Listener | None = None
) -> DatasetFacts:
    """Look at every clip, caption and embedding of a folder. Raises InputError if there is no such folder."""
    root = Path(ref.annotation)
    if not is_dir(root / VIDEOS):
        raise InputError(f"{root}: has no folder {VIDEOS}; want {VIDEOS}/*{SUFFIX} and {METAS}/*.txt")
    clips = ClipSet(ref, root, root / VIDEOS, listen=listen)
    embeddings = EmbeddingFold(clips.findings)
    paths = clip_files(root)
    for index, path in enumerate(paths):
        clips.findings.failed = False
        meta = root / METAS / f"{path.stem}.txt"
        caption = _caption(index, meta, clips.findings)
        _inside(index, (path, meta), clips.findings)
        embedded = embeddings.see(index, find_embedding(root / EMBEDDINGS, path.stem), caption, meta)
        windows = [(Window(0, TO_THE_END), len(caption.encode(errors="surrogatepass")), False)]
        usable = not clips.findings.failed
        clips.rows.append(Row(path, windows, [hash(caption)], offset=index, usable=usable, embedded=embedded))
        if progress is not None and not index % 100:
            progress(f"{ref.label} captions", index, len(paths))
    _left_out(root, paths, clips.findings)
    return clips.facts(folder_sha256(root), progress, encoders=embeddings.finish())


def _inside(index: int, files: tuple[Path, ...], findings: Collector) -> None:
    """Refuse links that lead out: a clip from where `videos` really is, a caption from where `metas` is."""
    for path in files:
        if path.is_symlink() and not _leads_inside(path):
            saw, want = f"{path.name} is a link that leads out of {path.parent}", "a file of the folder's own"
            findings.add(OUTSIDE, saw, want, at=At(index, file=str(path)), fix="copy the file here")


def _leads_inside(link: Path) -> bool:
    try:
        return lies_in(str(link.resolve()), homes(link.parent))
    except (OSError, RuntimeError):  # a link to itself
        return True  # its header says what is wrong


def _left_out(root: Path, clips: list[Path], findings: Collector) -> None:
    """Name the videos that are no clips, by their suffix or a folder of their own, and captions without a clip."""
    taken, stems = set(clips), {path.stem for path in clips}
    strange = [path for path in (root / VIDEOS).rglob("*") if _is_video(path) and path not in taken]
    if strange:
        saw = f"{len(strange):,} videos that are not {VIDEOS}/*{SUFFIX}: {_some(strange, root)}"
        findings.add(LEFT_OUT, saw, "none left out", at=At(), fix=f"rename or move them to {VIDEOS}/NAME{SUFFIX}")
    lonely = [path for path in (root / METAS).glob("*.txt") if path.stem not in stems and path.name[0] != "."]
    if lonely:
        saw = f"{len(lonely):,} captions without a clip: {_some(lonely, root)}"
        findings.add(LEFT_OUT, saw, f"{VIDEOS}/NAME{SUFFIX} for each {METAS}/NAME.txt", at=At())


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES["video"] and path.name[0] != "."


def _some(paths: list[Path], root: Path) -> str:
    names = [path.relative_to(root).as_posix() for path in sorted(paths)[:SHOWN]]
    return ", ".join(names) + (", ..." if len(paths) > SHOWN else "")


def _mark(path: Path, caption: str) -> bytes:
    return f"{path.name}\0{size_of(path)}\0{caption}\0".encode(errors="surrogatepass")


def folder_sha256(root: Path) -> str:
    """Return the hash that probing gives a folder: of every clip's name, size and caption."""
    digest = hashlib.sha256()
    for path in clip_files(root):
        digest.update(_mark(path, read_caption(root, path.stem)))
    return digest.hexdigest()


def clip_files(root: Path) -> list[Path]:
    """Return the clips of a folder, in the order of its records."""
    return sorted((root / VIDEOS).glob(f"*{SUFFIX}"))


def read_clip(root: Path, offset: int, size: int = 0) -> Mapping[str, object]:
    """Return clip `offset` of a folder: its file, its caption, and the file of its embedding or None."""
    return read_file(root, clip_files(root)[offset])


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
        return (root / METAS / f"{stem}.txt").read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _caption(index: int, path: Path, findings: Collector) -> str:
    text = read_caption(path.parent.parent, path.stem)
    if not text:
        saw = ("not UTF-8" if _has_letters(path) else "an empty file") if is_file(path) else f"no {METAS}/{path.name}"
        findings.add(NO_CAPTION, saw, "the text of the clip", at=At(index, file=str(path)))
    elif says_nothing(text):
        findings.add(NO_CAPTION, quote(text), "the text of the clip", at=At(index, file=str(path)))
    judge_caption(text, T5, findings, At(index, file=str(path)))
    return text


def _has_letters(path: Path) -> bool:
    try:
        return bool(path.read_bytes().removeprefix(codecs.BOM_UTF8).strip())
    except OSError:
        return False
