"""The folder of a quantised model: the driver's weights, the base's files, one configuration; audited, then renamed."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from tao_runtime.audit import audit
from tao_runtime.audit.folder import open_folder
from tao_runtime.audit.names import tower
from tao_runtime.audit.report import AuditReport
from tao_runtime.audit.weights import read_weights
from tao_runtime.engine.export.layout import ExportLayout, carry
from tao_runtime.engine.export.stream import Form, TensorStream
from tao_runtime.errors import RunError
from tao_runtime.score.quantized import Sizes

UNTOUCHED: Final = ("visual", "lm_head")  # towers that keep every bit
QUANTISATION: Final = "quantization_config"


def write_merged(model: nn.Module, base: Path, folder: Path, *, layout: ExportLayout, dtype: torch.dtype) -> None:
    """Write a model whose adapter is merged as a snapshot of its own: what is quantised, and compared with."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    values = dict(model.named_parameters())
    forms = {name: Form(dtype, tuple(value.shape)) for name, value in values.items()}
    stream = TensorStream(temporary / layout.network, layout.stem, forms)
    for name, value in values.items():
        stream.write(name, value.detach().cpu())
    stream.close()
    layout.finish(base, temporary, dtype)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def assemble(made: Path, base: Path, folder: Path) -> None:
    """Put the driver's weights beside the base's own files; of its configuration only what is about quantising.

    The driver's library may be of another version: what it says of tokenizer, processor and network is not taken.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    carry(base, folder)
    for file in sorted(made.glob("model*.safetensors*")):
        file.rename(folder / file.name)
    said = _read(made / "config.json")
    if QUANTISATION not in said:
        raise RunError(f"{made}: the driver wrote no {QUANTISATION}")
    config = {**_read(base / "config.json"), QUANTISATION: said[QUANTISATION]}
    if "dtype" in said:
        config["dtype"] = said["dtype"]
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True))


def _read(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text())
    assert isinstance(value, dict)
    return value


def audit_against(folder: Path, base: Path) -> AuditReport:
    """Audit the folder with every byte: against its base, the vision tower and the head unchanged."""
    towers = {tower(name) for name in read_weights(open_folder(base)).tensors}
    return audit(folder, base=base, values=True, expect_unchanged=[part for part in UNTOUCHED if part in towers])


def sizes(base: Path, folder: Path) -> Sizes:
    """Return the bytes of each tower before and after."""
    return Sizes(before=_bytes(base), after=_bytes(folder))


def _bytes(folder: Path) -> dict[str, int]:
    found: Counter[str] = Counter()
    for name, tensor in read_weights(open_folder(folder)).tensors.items():
        found[tower(name)] += tensor.num_bytes
    return dict(sorted(found.items()))
