"""A file with one clip a line: vision_path, and t2w_windows with a caption each (`docs/dataset_jsonl.md` upstream)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath

from tao_runtime.data.caption_rules import CHAT, judge_caption
from tao_runtime.data.captions import KEYS, PLAIN, STRUCTURED, caption_of
from tao_runtime.data.clip_keys import ClipKeyFold
from tao_runtime.data.clip_set import BAD_WINDOW, MALFORMED, NO_CAPTION, OUTSIDE, TO_THE_END, ClipSet, Row
from tao_runtime.data.clips import Window
from tao_runtime.data.consistency import AbsoluteFold
from tao_runtime.data.embedded import EMBEDDINGS, EmbeddingFold
from tao_runtime.data.facts import DatasetFacts
from tao_runtime.data.fold import At, Collector, Listener, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.llava import IdFold
from tao_runtime.data.paths import can_be_path, lies_in, size_of
from tao_runtime.data.progress import Progress
from tao_runtime.data.source_video import SourceFold
from tao_runtime.data.t5 import find_embedding
from tao_runtime.spec.base import DatasetRef


def probe_video_jsonl(
    ref: DatasetRef, progress: Progress | None = None, *, listen: Listener | None = None
) -> DatasetFacts:
    """Read every record and every clip's header. Raises InputError if the file cannot be read at all."""
    annotation, digest = Path(ref.annotation), hashlib.sha256()
    clips = ClipSet(ref, annotation, Path(ref.media) if ref.media else annotation.parent, listen=listen)
    embeddings, total = EmbeddingFold(clips.findings), size_of(annotation)
    ids, absolute, keys = IdFold("uuid"), AbsoluteFold("make them relative to the folder of this file"), ClipKeyFold()
    source = SourceFold()
    for index, offset, size, record in iter_array(annotation, on_bytes=digest.update):
        clips.findings.failed = False
        windows, captions = _windows(index, record, clips.findings) if isinstance(record, dict) else ([], [])
        file = _file(index, record, clips) if isinstance(record, dict) else None
        embedded = isinstance(record, dict) and file is not None and _embedded(index, annotation, record, embeddings)
        if isinstance(record, dict):
            ids.see(index, record, clips.findings)
            keys.see(index, record, clips.findings)
            source.see(index, record, clips.findings)
            absolute.see(index, {"video": record.get("vision_path")}, clips.findings)
        else:
            clips.findings.add(MALFORMED, quote(record), "an object", at=At(index))
        usable = not clips.findings.failed and bool(windows)
        clips.rows.append(Row(file or clips.root, windows, captions, offset, size, usable, embedded))
        if progress is not None and not index % 1000:
            progress(f"{ref.label} records", offset + size, total)
    for fold in (ids, absolute, keys):
        fold.finish(clips.findings)
    facts = clips.facts(digest.hexdigest(), progress, encoders=embeddings.finish())
    return replace(facts, cuts=source.cuts)


def embedding_stem(annotation: Path, vision_path: str, window: int) -> Path:
    """Return where the embedding of a window's caption is, without its suffix: beside the file, as the clips lie."""
    path = PurePath(vision_path)
    inside = PurePath(path.name) if path.is_absolute() or ".." in path.parts else path
    return annotation.parent / EMBEDDINGS / inside.parent / inside.stem / f"w{window}"


def _embedded(index: int, annotation: Path, record: Mapping[str, object], embeddings: EmbeddingFold) -> bool:
    """Whether every window of a record has the embedding of its caption; those that are there are judged."""
    windows = record.get("t2w_windows")
    found = []
    for number, item in enumerate(windows if isinstance(windows, list) else ()):
        caption = caption_of(item) if isinstance(item, dict) else None
        stem = embedding_stem(annotation, str(record["vision_path"]), number)
        path = find_embedding(stem.parent, stem.name)
        found.append(embeddings.see(index, path, caption.text if caption else "", annotation))
    return bool(found) and all(found)


def _file(index: int, record: Mapping[str, object], clips: ClipSet) -> Path | None:
    name = record.get("vision_path")
    if not isinstance(name, str) or not name or not can_be_path(name):
        clips.findings.add(MALFORMED, f"vision_path: {quote(name)}", "the path of a clip", at=At(index, "/vision_path"))
        return None
    if "://" in name:
        clips.findings.add(OUTSIDE, name, "a local file", at=At(index, "/vision_path"), fix="copy it here first")
        return None
    path = clips.root / name
    if not Path(name).is_absolute() and not lies_in(str(path.resolve()), clips.homes):
        clips.findings.add(OUTSIDE, name, f"a path inside {clips.root}", at=At(index, "/vision_path"))
        return None
    return path


def _windows(
    index: int, record: Mapping[str, object], findings: Collector
) -> tuple[list[tuple[Window, int, bool]], list[int]]:
    """Return the windows of a record, and a hash of each one's caption."""
    given = record.get("t2w_windows")
    if not isinstance(given, list) or not given:
        findings.add(MALFORMED, f"t2w_windows: {quote(given)}", "a list of windows", at=At(index, "/t2w_windows"))
        return [], []
    found, captions = [], []
    for number, item in enumerate(given):
        at = At(index, f"/t2w_windows/{number}")
        window = _window(item, findings, at)
        if window is None:
            continue
        caption = caption_of(item)
        if caption is None:
            findings.add(NO_CAPTION, _nothing(item), f"text under {STRUCTURED} or {PLAIN}", at=at)
        else:
            judge_caption(caption.text, CHAT, findings, at)
        text = caption.text.encode(errors="surrogatepass") if caption else b""
        found.append((window, len(text), caption.structured if caption else False))
        captions.append(hash(text))
    return found, captions


def _window(item: object, findings: Collector, at: At) -> Window | None:
    table: Mapping[str, object] = item if isinstance(item, dict) else {}
    first, last, interval = table.get("start_frame"), table.get("end_frame"), table.get("temporal_interval", 1)
    # bool is an int to Python, and 2**31 frames are a year of video
    numbers = [one for one in (first, last, interval) if type(one) is int and 0 <= one < TO_THE_END]
    if len(numbers) < 3:
        findings.add(BAD_WINDOW, quote(item), "whole numbers start_frame, end_frame, temporal_interval", at=at)
        return None
    window = Window(*numbers)
    if window.last < window.first or window.interval < 1:
        saw = f"start_frame {first}, end_frame {last}, temporal_interval {interval}"
        findings.add(BAD_WINDOW, saw, "an end after the start, and an interval of at least 1", at=at)
        return None
    return window


def _nothing(window: object) -> str:
    given = [(key, window[key]) for key in KEYS if key in window] if isinstance(window, dict) else []
    return f"{given[0][0]}: {quote(given[0][1])}" if given else "no caption"
