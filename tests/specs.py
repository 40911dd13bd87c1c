"""What the tests of the spec floor share: the smallest specs, and ways to write and refuse them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tao_runtime.errors import Finding, FindingsError
from tao_runtime.spec.base import Spec
from tao_runtime.spec.load import load_spec
from tao_runtime.spec.messages import required_keys

TRAIN = "results_dir: out\ncustom: {train_dataset: {annotation_path: data}}\n"
FILLED: Mapping[str, list[str]] = {
    "train": ["results_dir=out", "custom.train_dataset.annotation_path=data"],
    "evaluate": ["results_dir=out", "dataset.annotation_path=data"],
    "quantize": ["results_dir=out"],
    "inference": ["results_dir=out", "media=clip.mp4"],
}


def filled(spec: type[Spec]) -> list[str]:
    """The overrides that make the smallest spec of a class: its required keys."""
    if spec.family == "cosmos_reason":
        return FILLED[spec.action]
    values = {"dataloader_train.num_frames": "17", "dataset.num_frames": "17"}
    return [f"{key.path}={values.get(key.path, 'given')}" for key in required_keys(spec)]


def write(folder: Path, text: str, name: str = "spec.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, *overrides: str, **options: str) -> list[Finding]:
    """Load a spec that must be refused, and return why."""
    with pytest.raises(FindingsError) as caught:
        load_spec(path, overrides, **options)
    return list(caught.value.findings)


def to_toml(tree: Mapping[str, Any], prefix: str = "") -> str:
    """Write nested tables as TOML; null, which TOML does not have, is left out."""
    plain = {name: value for name, value in tree.items() if not isinstance(value, dict) and value is not None}
    lines = [f"{name} = {_toml(value)}" for name, value in plain.items()]
    for name, value in tree.items():
        if isinstance(value, dict):
            lines += [f"[{prefix}{name}]", to_toml(value, f"{prefix}{name}.")]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08X}" for letter in value) + '"'
    return repr(value)
