"""Latents on disk by content: a clip's window that was encoded once is never encoded again, in this run or the next."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

CHUNK = 1 << 20
TENSOR = "latents"


@dataclass(frozen=True, slots=True)
class LatentKey:
    """What latents depend on."""

    clip_sha256: str  # of the file
    frame_indices: tuple[int, ...]  # of the file, in the order they enter the VAE
    height: int  # pixels after resizing and cropping
    width: int
    vae_sha256: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class LatentCache:
    """A folder of safetensors, filled up to a byte budget. Safe between threads and between processes.

    Nothing is evicted: every epoch visits every clip once, so that evicting would only lower the hit rate. What lies in
    the folder at the start counts; several processes that share a folder each get a part of the budget.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self.folder = folder
        self.budget_bytes = budget_bytes
        self.used_bytes = sum(file.stat().st_size for file in folder.glob("*/*.safetensors"))
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()
        self._hashes: dict[tuple[str, int, int], str] = {}

    def load(self, key: LatentKey, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the latents of a key on the CPU; `make` encodes them, and is not called where they are kept."""
        path = self.folder / key.digest[:2] / f"{key.digest}.safetensors"
        found = self._read(path)
        with self._lock:
            self.hits += found is not None
            self.misses += found is None
        if found is not None:
            return found
        latents = make().detach().cpu().contiguous()
        self._keep(path, latents)
        return latents

    def clip_sha256(self, path: Path) -> str:
        """Return the hash of a file's content, read once per process as long as the file stays as it is."""
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns)
        known = self._hashes.get(key)
        if known is None:
            known = self._hashes[key] = file_sha256(path)
        return known

    @staticmethod
    def _read(path: Path) -> torch.Tensor | None:
        """Return what is kept; a file that cannot be read counts as absent and is written again."""
        try:
            return load_file(path)[TENSOR]
        except (OSError, SafetensorError, KeyError):
            return None

    def _keep(self, path: Path, latents: torch.Tensor) -> None:
        with self._lock:
            if self.used_bytes + latents.nbytes > self.budget_bytes:
                return
            self.used_bytes += latents.nbytes
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own per process and thread: two that encode the same clip both write whole files.
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        save_file({TENSOR: latents}, temporary)
        temporary.replace(path)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
