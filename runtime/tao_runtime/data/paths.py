"""Paths that users name: is there anything, also where the system refuses to look; and folders that are written to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tao_runtime.errors import InputError


def can_be_path(text: str) -> bool:
    """Tell whether a text can name a file at all: a null byte and a lone surrogate, which JSON allows, cannot."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def is_dir(path: Path) -> bool:
    """Tell whether a path is a directory. Path.is_dir raises OSError for a name that is too long, until Python 3.14."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Tell whether a path is a file."""
    return os.path.isfile(path)  # noqa: PTH113


def exists(path: Path) -> bool:
    """Tell whether there is anything at a path."""
    return os.path.exists(path)  # noqa: PTH110


def homes(root: Path) -> tuple[str, ...]:
    """Return the folders, without links, that files of a data set may lie in: its root, and the hub cache's blobs.

    A snapshot of the hub's cache is links: `snapshots/<commit>/a.mp4` leads to `blobs/<hash>` beside `snapshots`.
    """
    real = Path(os.path.realpath(root))
    blobs = next((one.parent / "blobs" for one in (real, *real.parents) if one.name == "snapshots"), None)
    return (str(real),) if blobs is None or not is_dir(blobs) else (str(real), str(blobs))


def lies_in(real: str, folders: tuple[str, ...]) -> bool:
    """Tell whether a path without links is one of some folders, or lies in one."""
    return any(real == folder or real.startswith(folder.rstrip("/") + "/") for folder in folders)


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 if there is none."""
    return os.path.getsize(path) if is_file(path) else 0  # noqa: PTH202


def refuse_file(folder: Path, where: str = "--out") -> None:
    """Raise InputError if a folder cannot be made because it, or what is above it, is a file. Makes nothing."""
    there = next((path for path in (folder, *folder.parents) if exists(path)), None)
    if there is not None and not is_dir(there):
        raise InputError(f"{where} {folder}: {there} is a file; want a folder, or a name that is free")


def make_folder(folder: Path, where: str = "--out") -> None:
    """Make a folder that a user named, unless it is there. Raises InputError if that cannot be."""
    refuse_file(folder, where)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        saw = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"{where} {folder}: {saw}; want a folder that can be written to") from error


def link_or_copy(file: Path, target: Path) -> None:
    """Give a file a second name; a copy where it lies on another disk. A link of the hub's cache is followed."""
    if exists(target) and target.samefile(file):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), target)
    except OSError:
        shutil.copyfile(file, target)
