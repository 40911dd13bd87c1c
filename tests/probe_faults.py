"""Faults that only loading shows, planted into what transformers and peft wrote: the files alone look healthy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import artefacts as make


@dataclass(frozen=True)
class Loadable:
    """What to audit, and the base it came from."""

    path: Path
    base: Path | None = None


PROBE_FAULTS: dict[str, tuple[Callable[[Path], Loadable], tuple[str, ...]]] = {}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}


def plants(code: str, *with_it: str) -> Callable[[Callable[[Path], Loadable]], Callable[[Path], Loadable]]:
    def register(plant: Callable[[Path], Loadable]) -> Callable[[Path], Loadable]:
        PROBE_FAULTS[f"audit/{code}"] = plant, tuple(f"audit/{name}" for name in with_it)
        return plant

    return register


def a_network(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(**SMALL, vocab_size=64, intermediate_size=48, tie_word_embeddings=False)
    return LlamaForCausalLM(config).eval()


def save(network: Any, folder: Path) -> Path:
    """Save a network with what has to lie beside it."""
    network.save_pretrained(folder)
    make.write_json(folder / "tokenizer.json", {})
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], object], *, file: str = "model.safetensors") -> Path:
    tensors = load_file(folder / file)
    change(tensors)
    save_file(tensors, folder / file, metadata={"format": "pt"})
    return folder


def tuned(root: Path) -> Loadable:
    """A run's export: an adapter that was trained, the merged model beside it, and the base."""
    base = save(a_network(), root / "base")
    adapted = get_peft_model(a_network(), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    torch.manual_seed(1)
    for name, value in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(value)
    adapted.save_pretrained(root / "export/adapter")
    save(adapted.merge_and_unload(), root / "export/model")
    return Loadable(root / "export", base)


@plants("probe-load")
def _(root: Path) -> Loadable:
    make.edit_json(save(a_network(), root) / "config.json", lambda config: config.update(intermediate_size=40))
    return Loadable(root)


@plants("probe-nothing")
def _(root: Path) -> Loadable:
    return Loadable(save(a_network(), root) / "model.safetensors")


@plants("probe-missing")
def _(root: Path) -> Loadable:
    return Loadable(edit(save(a_network(), root), lambda tensors: tensors.pop("model.norm.weight")))


@plants("probe-unexpected")
def _(root: Path) -> Loadable:
    extra = {"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}
    return Loadable(edit(save(a_network(), root), lambda tensors: tensors.update(extra)))


@plants("probe-not-finite")
def _(root: Path) -> Loadable:
    """Every weight is finite, what they compute is not."""

    def big(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"].sign_().mul_(3e38)

    return Loadable(edit(save(a_network(), root), big))


@plants("probe-same-output", "same-as-base")
def _(root: Path) -> Loadable:
    base = save(a_network(), root / "base")
    return Loadable(Path(shutil.copytree(base, root / "export")), base)


@plants("probe-silent-adapter", "probe-merge-differs")
def _(root: Path) -> Loadable:
    """Both matrices of every pair were trained, and are scaled by zero; what was merged had another scale."""
    made = tuned(root)
    make.edit_json(made.path / "adapter/adapter_config.json", lambda config: config.update(lora_alpha=0))
    return made


@plants("probe-merge-differs")
def _(root: Path) -> Loadable:
    """Merged into another base."""
    made = tuned(root)
    edit(made.path / "model", lambda tensors: tensors["lm_head.weight"].mul_(1.5))
    return made


@plants("probe-no-base")
def _(root: Path) -> Loadable:
    made = tuned(root)
    return Loadable(made.path / "adapter")
