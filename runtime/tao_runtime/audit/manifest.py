"""manifest.json: what an exported or converted folder is made of, so that it can be told and checked elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from tao_runtime.data.commit import hash_files
from tao_runtime.errors import Frozen, InputError

MANIFEST: Final = "manifest.json"

Form = Literal["full", "merged", "adapter", "converted"]
State = Literal["changed", "unchanged", "cast", "unknown"]


class ManifestFile(Frozen):
    """One file."""

    bytes: int
    sha256: str


class ManifestBase(Frozen):
    """What the weights were made from."""

    path: str
    weights_sha256: str | None = Field(description="of headers and pieces of every tensor; null: not known")


class ManifestTower(Frozen):
    """A part of the model: the tensors whose names begin alike."""

    name: str
    tensors: int
    parameters: int
    sha256: str | None = Field(description="of names, types, shapes and bytes, the same for any sharding")
    state: State = Field(description="against the base; cast: not trained, and stored in another type than the base's")
    source: str = Field(description="run: trained here; base: as in the base; otherwise the folder it came from")


class Manifest(Frozen):
    """What lies in a folder of weights, and where each part of it came from."""

    schema_version: Literal["tao-run/manifest/1"] = Field(default="tao-run/manifest/1", alias="schema")
    family: str
    form: Form
    target: str = Field(description="what it was made for: transformers, diffusers, vllm, or a layout of checkpoints")
    weights: Literal["live", "ema"] = "live"
    step: int | None = Field(default=None, description="optimizer steps done; null: not from a run")
    spec_sha256: str | None = None
    checkpoint: str | None = Field(default=None, description="the commit it was read from; null: the end of a training")
    base: ManifestBase
    towers: tuple[ManifestTower, ...] = ()
    files: dict[str, ManifestFile] = Field(description="every other file of the folder")
    libraries: dict[str, str] = Field(description="version of each library that took part")
    notes: tuple[str, ...] = Field(default=(), description="what the program that loads it must be told")
    created_at: str


def measure(folder: Path) -> dict[str, ManifestFile]:
    """Return size and sha256 of every file of a folder but its manifest. Reads every byte."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    hashes = hash_files(folder, [name for name in names if name != MANIFEST])
    return {name: ManifestFile(bytes=(folder / name).stat().st_size, sha256=sha) for name, sha in hashes.items()}


def read_manifest(folder: Path) -> Manifest:
    """Read a manifest.

    Raises:
        InputError: there is none, or it is not one of ours.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{path}: {str(error).splitlines()[0]}; want a manifest of an export") from error


def differences(folder: Path, manifest: Manifest) -> list[str]:
    """Return what is not as the manifest says: files missing, added, of another size or content. Reads every byte."""
    found = measure(folder)
    lost = [f"{name}: missing" for name in sorted(manifest.files.keys() - found.keys())]
    added = [f"{name}: not in the manifest" for name in sorted(found.keys() - manifest.files.keys())]
    other = [
        f"{name}: {found[name].bytes} bytes, sha256 {found[name].sha256[:12]}; "
        f"written with {want.bytes} and {want.sha256[:12]}"
        for name, want in sorted(manifest.files.items())
        if name in found and found[name] != want
    ]
    return [*lost, *added, *other]
