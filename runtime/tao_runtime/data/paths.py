"""Does a path exist: false also where the system refuses to look it up, as it does a name of 5,000 letters."""

from __future__ import annotations

import os
from pathlib import Path


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
