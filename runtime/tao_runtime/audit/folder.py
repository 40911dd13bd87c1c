"""A folder as the audit sees it: names, small JSON files, and no way out of it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tao_runtime.audit.codes import found
from tao_runtime.errors import Finding

MAX_ENTRIES: Final = 20_000  # of one folder; the largest sharded exports have a few hundred files
MAX_JSON_BYTES: Final = 64 << 20  # the index of the largest mixture-of-experts model has about 10 MB

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Folder:
    """The names in a folder. `label` is what findings call it, relative to the audited path."""

    path: Path
    label: str
    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()

    def where(self, name: str) -> str:
        return f"{self.label}/{name}" if self.label else name

    @property
    def here(self) -> str:
        return self.label or self.path.name or str(self.path)

    def sub(self, name: str) -> Folder:
        return open_folder(self.path / name, self.where(name))


def open_folder(path: Path, label: str = "") -> Folder:
    """List a folder. One that cannot be read, or is too large, says so in its findings."""
    files, folders, findings = set(), set(), []
    here = label or str(path)
    try:
        with os.scandir(path) as entries:
            for number, entry in enumerate(entries):
                if number >= MAX_ENTRIES:
                    findings.append(
                        found("too-many-files", here, f"more than {MAX_ENTRIES:,} entries", "a folder of one model")
                    )
                    break
                # A linked folder is not entered: it may lead anywhere, and in circles.
                if entry.is_dir(follow_symlinks=False):
                    folders.add(entry.name)
                else:
                    files.add(entry.name)
    except OSError as error:
        findings.append(found("unreadable", here, error.strerror or str(error), "a folder that can be read"))
    return Folder(path, label, frozenset(files), frozenset(folders), tuple(findings))


def locate(folder: Folder, name: str) -> tuple[Path | None, tuple[Finding, ...]]:
    """Return the path of a file by its name in a folder; None, with a finding, if the name leads out of it."""
    path = folder.path / name
    try:
        root, target = folder.path.resolve(), path.resolve()
        inside = target.is_relative_to(root) or target.is_relative_to(_blobs(root))
        ordinary = not target.exists() or stat.S_ISREG(target.stat().st_mode)
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL byte, a name too long
        return None, (found("unreadable", folder.where(shorten(name)), str(error), "a file that can be read"),)
    if not inside:
        return None, (found("path-outside", folder.where(shorten(name)), "leads out of its folder", "a file in it"),)
    if not ordinary:
        return None, (found("unreadable", folder.where(shorten(name)), "not an ordinary file", "a file"),)
    return path, ()


def _blobs(root: Path) -> Path:
    """Where the hub's cache keeps the files that a snapshot links to: <repo>/snapshots/<rev> -> <repo>/blobs."""
    return root.parent.parent / "blobs" if root.parent.name == "snapshots" else root


def shorten(text: str, length: int = 120) -> str:
    """Cut a text that came from a file, and make what cannot be printed visible."""
    clean = "".join(char if char.isprintable() else "?" for char in text[: length + 1])
    return clean if len(clean) <= length else clean[:length] + "..."


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A JSON object from a folder; `value` is empty where it is not there or is wrong."""

    value: Json = field(default_factory=dict)
    exists: bool = False
    findings: tuple[Finding, ...] = ()


def read_json(folder: Folder, name: str) -> JsonFile:
    """Read a JSON object of a folder. What is wrong with it is a finding, its absence is not."""
    if name not in folder.files:
        return JsonFile()
    path, findings = locate(folder, name)
    if path is None:
        return JsonFile({}, True, findings)
    where = folder.where(name)
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            return JsonFile({}, True, (found("json", where, f"{size:,} bytes", f"at most {MAX_JSON_BYTES:,}"),))
        value = json.loads(path.read_bytes())
    except OSError as error:
        return JsonFile({}, True, (found("unreadable", where, error.strerror or str(error), "a readable file"),))
    except (ValueError, RecursionError) as error:
        return JsonFile({}, True, (found("json", where, shorten(str(error)), "valid JSON"),))
    if not isinstance(value, dict):
        return JsonFile({}, True, (found("json", where, f"a {type(value).__name__}", "an object"),))
    return JsonFile(value, True)


def table(tree: Json, key: str) -> Json:
    """Return a table of a JSON object; empty if it is none."""
    value = tree.get(key)
    return value if isinstance(value, dict) else {}


def number(tree: Json, key: str) -> int | None:
    """Return a whole number of a JSON object, or None."""
    value = tree.get(key)
    return value if type(value) is int else None


def text(tree: Json, key: str) -> str | None:
    value = tree.get(key)
    return value if isinstance(value, str) else None


def texts(value: object) -> tuple[str, ...]:
    """Return the texts of a list, or the one that is given instead of a list."""
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
