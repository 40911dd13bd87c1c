"""What export and convert print."""

from __future__ import annotations

import sys
from pathlib import Path

from tao_runtime.audit.manifest import Manifest, read_manifest
from tao_runtime.errors import InputError


def print_manifest(folder: Path, *, as_json: bool) -> None:
    """Print what lies in a folder: JSON on stdout, or a few lines for people on stderr and the path on stdout."""
    manifest = read_manifest(folder)
    if as_json:
        print(manifest.model_dump_json(by_alias=True, indent=1))
        return
    for line in render(manifest):
        print(line, file=sys.stderr)
    print(folder)


def pairs(texts: list[str]) -> dict[str, Path]:
    """Return towers and where each comes from, of NAME=SOURCE.

    Raises:
        InputError: a text has no name, or no source.
    """
    found = {}
    for text in texts:
        name, _, source = text.partition("=")
        if not name or not source:
            raise InputError(f"--tower {text}: want NAME=SOURCE, such as visual=models/other")
        found[name] = Path(source)
    return found


def render(manifest: Manifest) -> list[str]:
    """Return a line for the whole, and one for each tower."""
    step = "" if manifest.step is None else f" of step {manifest.step}, {manifest.weights} weights"
    size = sum(file.bytes for file in manifest.files.values())
    lines = [f"{manifest.form} {manifest.family}{step}: {len(manifest.files)} files, {size:,} bytes"]
    for tower in manifest.towers:
        digest = (tower.sha256 or "")[:12]
        lines.append(f"  {tower.name}: {tower.state}, from {tower.source}, {tower.parameters:,} parameters, {digest}")
    return [*lines, *(f"  note: {note}" for note in manifest.notes)]
