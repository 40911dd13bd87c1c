"""The VideoPhy-2 layout: a folder with meta.json, media/ and text/, one conversation a clip.

Upstream's own preparation writes entries {id, media, conversation}, and turns of role and content, content as a list of
parts (cosmos-framework, scripts/reasoner/prepare_videophy2_from_hf.py).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tao_runtime.data.annotations import ColumnBuilder
from tao_runtime.data.broken_media import name_records
from tao_runtime.data.consistency import AbsoluteFold, AgreementFold
from tao_runtime.data.facts import DatasetFacts, MediaHeader
from tao_runtime.data.fold import At, Collector, declare, quote
from tao_runtime.data.json_stream import iter_array
from tao_runtime.data.llava import ConversationFold, IdFold
from tao_runtime.data.media import cache_path, probe_media
from tao_runtime.data.paths import is_dir, is_file, size_of
from tao_runtime.data.progress import Progress, part_of
from tao_runtime.data.references import MediaFold
from tao_runtime.data.source_video import SourceFold
from tao_runtime.spec.base import DatasetRef

META, MEDIA, TEXT = "meta.json", "media", "text"
ID_KEYS: Final = ("id", "uuid", "video_id")
TURN_KEYS: Final = ("conversations", "messages")

BAD_ENTRY = declare(
    "dataset/meta-entry",
    "error",
    "An entry of meta.json is an id, or an object with one; text/<id>.json holds its turns.",
    source="seed guide: videophy2_{train,val}/{meta.json, media/, text/}",
)


def meta_of(folder: Path) -> Path:
    """Return the annotation file of a folder."""
    return folder / META if is_dir(folder) else folder


def probe_videophy2(ref: DatasetRef, progress: Progress | None = None) -> DatasetFacts:
    """Judge every entry, its turns and its clip's header. Raises InputError if meta.json cannot be read."""
    meta = meta_of(Path(ref.annotation))
    findings = Collector(where=ref.annotation_key, file=str(meta))
    turns, columns, ids = ConversationFold("conversations"), ColumnBuilder(), IdFold()
    media, total, source = MediaFold(meta.parent, turns), size_of(meta), SourceFold()
    folds = (turns, media, ids, AgreementFold("conversations", media), AbsoluteFold("make them relative to the folder"))
    for index, offset, size, entry in iter_array(meta):
        findings.failed = False
        if progress is not None and not index % 1000:
            progress(f"{ref.label} entries", offset, total)
        record = record_of(meta.parent, entry)
        if record is None:
            findings.add(BAD_ENTRY, *_fault(meta.parent, entry), at=At(index))
            columns.add(offset, size, None, (), math.nan, usable=False)
            continue
        for fold in folds:
            fold.see(index, record, findings)
        if isinstance(entry, dict):
            source.see(index, entry, findings)
        columns.add(offset, size, turns, media.current, math.nan, usable=not findings.failed)
    for fold in folds:
        fold.finish(findings)
    results = probe_media(
        media.files, where=ref.media_key, cache=cache_path(), progress=part_of(progress, f"{ref.label} media")
    )
    headers = tuple(result if isinstance(result, MediaHeader) else None for result in results)
    frozen = columns.freeze()
    for record_number in range(len(frozen)):
        if any(headers[number] is None for number in frozen.media_of(record_number)):
            frozen.usable[record_number] = False
    found = (*findings.findings(), *name_records(results, media.files, frozen))
    sha256 = videophy2_sha256(meta)
    return DatasetFacts(ref.label, meta, meta.parent, sha256, frozen, headers, found, cuts=source.cuts)


def videophy2_sha256(meta: Path) -> str:
    """Return a digest of meta.json and of every record, whose turns lie in files of their own."""
    digest = hashlib.sha256()
    for _, _, _, entry in iter_array(meta, on_bytes=digest.update):
        digest.update(json.dumps(record_of(meta.parent, entry), sort_keys=True).encode())
    return digest.hexdigest()


def read_entry(annotation: Path, offset: int, size: int) -> Mapping[str, object]:
    """Return the record of the entry at a place of meta.json."""
    with annotation.open("rb") as file:
        file.seek(offset)
        record = record_of(annotation.parent, json.loads(file.read(size)))
    assert record is not None
    return record


def record_of(folder: Path, entry: object) -> dict[str, object] | None:
    """Return the LLaVA record of an entry; None if it has no id, or no turns beside it."""
    table: Mapping[str, object] = entry if isinstance(entry, dict) else {}
    name = _name(entry, table)
    if name is None:
        return None
    given = next((table[key] for key in TURN_KEYS if key in table), None)
    turns = _turns(given if given is not None else _read(_text_of(folder, name, table.get("conversation"))))
    if turns is None:
        return None
    media = table.get("media") or table.get("video") or f"{MEDIA}/{name}.mp4"
    return {"id": name, "video": media, "conversations": turns}


def _name(entry: object, table: Mapping[str, object]) -> str | None:
    name = entry if isinstance(entry, str) else next((table[key] for key in ID_KEYS if key in table), None)
    return name if isinstance(name, str) and name and "/" not in name and not name.startswith(".") else None


def _fault(folder: Path, entry: object) -> tuple[str, str]:
    """Say why an entry gives no record: what was seen, and what is wanted."""
    table: Mapping[str, object] = entry if isinstance(entry, dict) else {}
    name = _name(entry, table)
    if name is None:
        return quote(entry), f"an id, or an object with {', '.join(ID_KEYS)}: a name without / that starts with no dot"
    path = _text_of(folder, name, table.get("conversation"))
    where = path.relative_to(folder).as_posix()
    if any(key in table for key in TURN_KEYS):
        return f"{quote(entry)}: its turns are no list of objects", "a list of turns"
    if not is_file(path):
        return f"{quote(name)}, and no {where}", f"{TEXT}/<id>.json beside {META}"
    why = "no list of turns" if _read(path) is not None else "not JSON in UTF-8"
    return f"{where} of {quote(name)}: {why}", "a list of turns, or an object with one"


def _text_of(folder: Path, name: str, given: object) -> Path:
    """Return the file of an entry's turns: the one it names, if that lies in the folder, or the one of its id."""
    path = folder / given if isinstance(given, str) and given else None
    if path is not None and path.resolve().is_relative_to(folder.resolve()):
        return path
    return folder / TEXT / f"{name}.json"


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _turns(value: object) -> list[dict[str, object]] | None:
    """Return turns as LLaVA writes them, from its own form or from role and content."""
    if isinstance(value, dict):
        value = next((value[key] for key in TURN_KEYS if key in value), None)
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        return None
    return [
        turn if "from" in turn else {"from": turn.get("role"), "value": _plain(turn.get("content"))} for turn in value
    ]


def _plain(content: object) -> object:
    """Return content as text: parts in order, a medium as its tag on a line of its own, as LLaVA writes it."""
    if not isinstance(content, list):
        return content
    kinds = {"video": "<video>\n", "image": "<image>\n"}
    parts = [part if isinstance(part, dict) else {} for part in content]
    texts = [kinds.get(str(part.get("type")), part.get("text")) for part in parts]
    return "".join(texts) if all(isinstance(text, str) for text in texts) else content  # type: ignore[arg-type]
