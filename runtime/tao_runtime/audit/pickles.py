"""Pickles: found by name and first bytes, reported, and never loaded, since loading one can run any code."""

from __future__ import annotations

import re
from typing import Final

from tao_runtime.audit.codes import found
from tao_runtime.audit.folder import Folder, locate
from tao_runtime.errors import Finding

_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_WEIGHTS: Final = ("pytorch_model", "adapter_model", "diffusion_pytorch_model", "pytorch_lora_weights")
# What transformers, accelerate and torch write beside the weights to go on training.
_STATE: Final = re.compile(
    r"^(optimizer|scheduler|scaler|sampler|dl_state_dict|rng_state|random_states|training_args|custom_checkpoint)"
)
_MAGIC: Final = (b"\x80", b"PK\x03\x04")


def look_at_pickles(folder: Folder, *, beside: bool) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Return the names of trainer state, and pickled weights as findings: errors, unless safetensors are there too."""
    findings: list[Finding] = []
    state = []
    for name in sorted(name for name in folder.files if name.endswith(_SUFFIXES)):
        if _STATE.match(name):
            state.append(name)
            continue
        start, problems = _start(folder, name)
        findings.extend(problems)
        if problems or (name.endswith(".bin") and not name.startswith(_WEIGHTS) and not start.startswith(_MAGIC)):
            continue
        findings.append(found("pickle", folder.where(name), "a pickle; it was not loaded", "safetensors",
                              severity="warning" if beside else "error"))  # fmt: skip
    return tuple(state), tuple(findings)


def _start(folder: Folder, name: str) -> tuple[bytes, tuple[Finding, ...]]:
    path, problems = locate(folder, name)
    if path is None:
        return b"", problems
    try:
        with path.open("rb") as file:
            return file.read(4), ()
    except OSError as error:
        return b"", (found("unreadable", folder.where(name), error.strerror or str(error), "a file that can be read"),)
