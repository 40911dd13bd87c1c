"""The weights of a commit, live or averaged, put into a whole model: what training had at that step."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn
from torch.distributed.checkpoint import FileSystemReader, load  # type: ignore[attr-defined]
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from tao_runtime.engine.weights import clean_name
from tao_runtime.errors import RunError

LIVE, AVERAGED = "model", "ema"  # parts of a commit
FIRST = "0."  # of several averages the first is what inference uses


@torch.no_grad()
def load_commit_weights(model: nn.Module, commit: Path, *, averaged: bool, apart: frozenset[str] = frozenset()) -> int:
    """Put what a commit holds in the place of a model's weights; returns how many tensors. `apart` are left out.

    Raises:
        RunError: it keeps no averages, or holds tensors that the model has not, as those of an adapter.
    """
    part = commit / (AVERAGED if averaged else LIVE)
    if not part.is_dir():
        raise RunError(f"{commit}: keeps no averaged weights. Fix: set model.weights to live")
    saved = FileSystemReader(part).read_metadata().state_dict_metadata
    names = {name: name.removeprefix(FIRST) for name in saved if not averaged or name.startswith(FIRST)}
    own = {clean_name(name): value for name, value in model.named_parameters()}
    strange = sorted(name for name in names.values() if name not in own and name not in apart)
    if strange:
        raise RunError(
            f"{commit}: {len(strange)} tensors that the model has not, such as {strange[0]}. Fix: where the run "
            "trained an adapter, name its export/adapter as model.path and the base as model.base_path"
        )
    values: dict[str, torch.Tensor] = {}
    for name, plain in names.items():
        kept = saved[name]
        if plain in apart or not isinstance(kept, TensorStorageMetadata):
            continue
        if kept.size != own[plain].shape:
            raise RunError(f"{commit}: {plain} is {list(kept.size)}, in the model {list(own[plain].shape)}")
        values[name] = torch.empty(kept.size, dtype=kept.properties.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # every rank reads all of it
        load(values, checkpoint_id=part, no_dist=True)
    for name, value in values.items():
        parameter = own[names[name]]
        parameter.copy_(value.to(parameter))
    return len(values)
