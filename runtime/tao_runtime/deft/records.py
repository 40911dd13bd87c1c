"""LLaVA records as the data loop sees them: an id, a question, a ground truth and media paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tao_runtime.data.annotations import locate
from tao_runtime.data.llava import MEDIA_KEYS, ROLES
from tao_runtime.errors import InputError
from tao_runtime.spec.base import DatasetRef

_TAG = re.compile(r"<(?:video|image)>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AnnotationSet:
    """An annotation file and the root that its media paths are relative to."""

    annotation: Path
    media_root: Path


def open_set(annotation: Path | str, media_root: Path | str = "") -> AnnotationSet:
    """Resolve a dataset root (a directory) or an annotation file; no media root means the annotation's directory."""
    ref = DatasetRef("data", str(annotation), str(media_root), "annotation", "media")
    file, root = locate(ref)
    if not file.is_file():
        raise InputError(f"{file}: does not exist; want an annotation file, or a directory with annotations.json")
    return AnnotationSet(file, root)


def shared_folder(*folders: Path) -> Path:
    """Return the deepest folder that holds all of `folders`."""
    return Path(os.path.commonpath([folder.absolute() for folder in folders]))


def id_of(record: Mapping[str, object]) -> str | None:
    """The id as text; numbers are accepted, null and anything else are no id."""
    value = record.get("id")
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def question_of(record: Mapping[str, object]) -> str:
    """First human turn without media tags; "" if there is none."""
    return without_tags(_first_turn(record, "human"))


def truth_of(record: Mapping[str, object]) -> str:
    """First gpt turn; "" if there is none."""
    return _first_turn(record, "gpt")


def without_tags(question: str) -> str:
    """Question without <video>/<image> tags and the white space around them: what slices are keyed by."""
    return _TAG.sub("", question).strip()


def media_of(record: Mapping[str, object]) -> tuple[str, list[str]] | None:
    """The media key that a record uses and the paths under it, in order; None if it names none or they are no paths."""
    for key in MEDIA_KEYS:
        value = record.get(key)
        names = value if isinstance(value, list) else [value]
        if value and all(isinstance(name, str) and name for name in names):
            return key, [str(name) for name in names]
    return None


def inside(root: Path, name: str) -> str | None:
    """Absolute path of a medium, or None if it leads out of the root. `..` is resolved without touching the disk."""
    base = os.path.abspath(root)  # noqa: PTH100  lexical on purpose: resolve() would follow links into other file systems
    path = os.path.normpath(os.path.join(base, name))  # noqa: PTH118  as above, and once per failing row
    return path if path.startswith(base.rstrip("/") + "/") and "\0" not in name else None


def _first_turn(record: Mapping[str, object], role: str) -> str:
    return next((text for who, text in _turns(record) if who == role), "")


def _turns(record: Mapping[str, object]) -> Iterator[tuple[str | None, str]]:
    turns = record.get("conversations")
    for turn in turns if isinstance(turns, list) else []:
        if isinstance(turn, dict) and isinstance(turn.get("value"), str):
            yield ROLES.get(str(turn.get("from"))), turn["value"]
