"""A model's own tokenizer, for exact counts: only where it is on this machine, and can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tao_runtime.data.facts import ModelFacts
from tao_runtime.data.paths import is_file


def load_tokenizer(model: ModelFacts | None) -> Any | None:
    """Return the tokenizer in a model's folder; None: there is none."""
    return read_tokenizer(model.directory) if model is not None and model.directory is not None else None


def read_tokenizer(folder: Path) -> Any | None:
    """Return the tokenizer of a folder; None: there is none, or it cannot be read."""
    path = folder / "tokenizer.json"
    if not is_file(path):
        return None
    from tokenizers import Tokenizer as Loaded  # noqa: PLC0415 - 20 MB that most checks do not need

    try:
        return Loaded.from_file(str(path))
    except BaseException as error:  # the Rust binding raises bare Exception for a broken file
        if type(error) is not Exception:
            raise
        return None
