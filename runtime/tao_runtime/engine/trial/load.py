"""Opening what was written with the library that is meant to: no pickle, and no code that lies beside the weights."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import logging as diffusers_logging
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from torch import nn
from transformers.utils import logging as transformers_logging

from tao_runtime.audit.codes import found, some
from tao_runtime.engine.weights import Snapshot, tied_names
from tao_runtime.errors import Finding

CONFIG, PIPELINE, NETWORK = "config.json", "model_index.json", "transformer"
# What the libraries raise for files that they cannot use.
UNREADABLE = (OSError, ValueError, RuntimeError, KeyError, AttributeError, TypeError, SafetensorError)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network as its library opens it, and what the library had to say."""

    network: nn.Module | None
    findings: tuple[Finding, ...] = ()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' own bars and remarks off the terminal: what they find wrong is a finding here."""
    before = transformers_logging.get_verbosity(), diffusers_logging.get_verbosity()
    for each in (transformers_logging, diffusers_logging):
        each.set_verbosity_error()
        each.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(before[0])
        diffusers_logging.set_verbosity(before[1])
        transformers_logging.enable_progress_bar()
        diffusers_logging.enable_progress_bar()


def network_of(folder: Path) -> Path:
    """Return the folder of the network: inside of a pipeline, or the folder itself."""
    return folder / NETWORK if (folder / PIPELINE).is_file() else folder


def load_network(folder: Path, where: str, *, dtype: torch.dtype) -> Loaded:
    """Open the network of a folder. A class that no library has gives neither network nor finding."""
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        return Loaded(None, (found("probe-load", where, f"{CONFIG}: {error}"[:200], "a configuration"),))
    kind = _class_of(config)
    if kind is None:
        return Loaded(None)
    options: dict[str, Any] = {"torch_dtype": dtype} if "_class_name" in config else {"dtype": dtype}
    try:
        with quiet():
            network, seen = kind.from_pretrained(folder, output_loading_info=True, use_safetensors=True, **options)
    except UNREADABLE as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        saw = f"{kind.__name__}.from_pretrained: {said}"
        return Loaded(None, (found("probe-load", where, saw, "a folder that its library loads"),))
    return Loaded(network.eval(), tuple(_said(seen, network, where)))


def _class_of(config: dict[str, Any]) -> Any:
    """Return the class that a configuration names, of transformers or diffusers; None if they have no such network."""
    named = config.get("architectures") or [None]
    name, library, base = (
        (config["_class_name"], diffusers, diffusers.ModelMixin)
        if "_class_name" in config
        else (named[0], transformers, transformers.PreTrainedModel)
    )
    kind = getattr(library, name, None) if isinstance(name, str) else None
    return kind if isinstance(kind, type) and issubclass(kind, base) else None


def _said(seen: dict[str, Any], network: nn.Module, where: str) -> Iterator[Finding]:
    tied = tied_names(network)
    missing = sorted(str(name) for name in seen.get("missing_keys") or () if name not in tied)
    extra = sorted(str(name) for name in seen.get("unexpected_keys") or ())
    other = sorted(str(name) for name in seen.get("mismatched_keys") or ())
    if missing or other:
        saw = f"{len(missing) + len(other)} tensors were made up by the library: {some([*missing, *other])}"
        yield found("probe-missing", where, saw, "every tensor of the network in the files")
    if extra:
        saw = f"{len(extra)} tensors were left out by the library: {some(extra)}"
        yield found("probe-unexpected", where, saw, "only tensors of the network")


def load_adapter(network: nn.Module, folder: Path, where: str) -> Loaded:
    """Put a peft adapter on a network."""
    try:
        with quiet():
            adapted: Any = PeftModel.from_pretrained(network, str(folder))
    except UNREADABLE as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        return Loaded(None, (found("probe-load", where, f"peft: {said}", "an adapter of this base"),))
    wanted, have = set(get_peft_model_state_dict(adapted, save_embedding_layers=False)), Snapshot(folder).names
    findings = []
    if lost := sorted(wanted - have):
        saw = f"{len(lost)} of the adapter's tensors were made up by peft: {some(lost)}"
        findings.append(found("probe-missing", where, saw, "every tensor of the adapter in its file"))
    if extra := sorted(have - wanted):
        saw = f"{len(extra)} tensors were left out by peft: {some(extra)}"
        findings.append(found("probe-unexpected", where, saw, "tensors of modules that the base has"))
    return Loaded(adapted.eval(), tuple(findings))
