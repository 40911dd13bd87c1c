"""Digests of towers, the same as the audit's: a merged folder can be compared with the folders it came from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping

import torch

from tao_runtime.audit.names import tower
from tao_runtime.engine.export.stream import CODES, Form


def tower_digests(
    tensors: Mapping[str, tuple[Form, Callable[[], torch.Tensor]]],
) -> dict[str, tuple[str, int, int]]:
    """Return (sha256, tensors, parameters) of every tower: of names, types, shapes and bytes, in the order of names."""
    found: dict[str, list[str]] = {}
    for name in tensors:
        found.setdefault(tower(name), []).append(name)
    rows = {}
    for part, names in sorted(found.items()):
        digest, parameters = hashlib.sha256(), 0
        for name in sorted(names):
            form, read = tensors[name]
            data = read().contiguous().reshape(-1).view(torch.uint8).numpy().data
            inner = hashlib.sha256(data).hexdigest()
            digest.update(f"{name} {CODES[form.dtype]} {list(form.shape)} {inner}\n".encode())
            parameters += math.prod(form.shape)
        rows[part] = (digest.hexdigest(), len(names), parameters)
    return rows
