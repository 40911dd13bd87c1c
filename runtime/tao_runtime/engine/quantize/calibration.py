"""Calibration inputs: records as training sees them, one safetensors file each, for another environment."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from tao_runtime.engine.families import ChatFamily
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.samples import SampleSource
from tao_runtime.engine.source import BadSample
from tao_runtime.errors import RunError


def write_inputs(family: ChatFamily, model: torch.nn.Module, source: SampleSource, folder: Path) -> dict[str, int]:
    """Write the whole sample, prompt and answer, of every record of a ledger; return what was written.

    Raises:
        RunError: a medium cannot be decoded: scales must not silently rest on fewer records.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokens = media = 0
    count = len(source.ledger)
    with StepProgress("prepare calibration", count) as progress:
        for position in range(count):
            item = source.load(position)
            if isinstance(item, BadSample):
                raise RunError(f"record {item.record}: {item.reason}. Fix: replace the file, or leave the record out")
            inputs = family.network_inputs(model, family.collate_prompts([item], source.rules.geometry))
            save_file(
                {name: value.contiguous() for name, value in inputs.items()}, folder / f"{position:06d}.safetensors"
            )
            tokens, media = tokens + len(item.ids), media + bool(item.frames)
            progress.advance()
    return {"samples": count, "tokens": tokens, "with_media": media}
