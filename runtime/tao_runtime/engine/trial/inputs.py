"""What a network is tried with: a seeded input, the same for every network of the same configuration."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tao_runtime.engine.families import wet_family
from tao_runtime.spec.families import FAMILIES

SEED, TOKENS = 0, 12


@dataclass(frozen=True, slots=True)
class Trial:
    """Arguments of a network's forward, and what they are in words."""

    arguments: dict[str, Any]
    said: str


def trial_of(network: Any) -> Trial | None:
    """Return what a network is tried with; None for one of which it is not known what goes in."""
    name = type(network).__name__
    for family in FAMILIES:
        wet = wet_family(family)
        if name in wet.NETWORKS:
            return Trial(*wet.trial_arguments(network, seeded(network)))
    return _text(network) or _picture(network)


def seeded(network: nn.Module) -> torch.Generator:
    """Return the generator that inputs are drawn from, on the CPU."""
    return torch.Generator().manual_seed(SEED)


def text_ids(config: Any, generator: torch.Generator, count: int = TOKENS) -> torch.Tensor:
    """Return [1, count] tokens of plain text: none that a configuration gives a meaning."""
    inner = config.get_text_config() if hasattr(config, "get_text_config") else config
    named = {value for each in (config, inner) for key, value in each.to_dict().items()
             if key.endswith("_token_id") and isinstance(value, int)}  # fmt: skip
    plain = [number for number in range(inner.vocab_size) if number not in named]
    return torch.tensor(plain)[torch.randint(len(plain), (1, count), generator=generator)]


def _text(network: Any) -> Trial | None:
    config = getattr(network, "config", None)
    if getattr(network, "main_input_name", None) != "input_ids" or not hasattr(config, "to_dict"):
        return None
    ids = text_ids(config, seeded(network))
    arguments = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in _parameters(network):
        arguments["decoder_input_ids"] = ids
    return Trial(arguments, f"{TOKENS} tokens")


def _picture(network: Any) -> Trial | None:
    config = getattr(network, "config", None)
    side, channels = getattr(config, "image_size", None), getattr(config, "num_channels", None)
    if (
        getattr(network, "main_input_name", None) != "pixel_values"
        or type(side) is not int
        or type(channels) is not int
    ):
        return None
    pixels = torch.rand(1, channels, side, side, generator=seeded(network))
    return Trial({"pixel_values": pixels}, "a picture")


def _parameters(network: nn.Module) -> set[str]:
    return set(inspect.signature(network.forward).parameters)


@torch.no_grad()
def run_trial(network: Any, trial: Trial) -> torch.Tensor:
    """Return what the network answers, float32: logits, hidden states, or a denoiser's output."""
    dtype = next(network.parameters()).dtype
    arguments = {name: _cast(value, dtype) for name, value in trial.arguments.items()}
    out = network(**arguments)
    for name in ("logits", "last_hidden_state", "sample"):
        if getattr(out, name, None) is not None:
            return torch.as_tensor(getattr(out, name)).float()
    first = out[0]
    return torch.cat([each.flatten() for each in first] if isinstance(first, list) else [first.flatten()]).float()


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(dtype)
    return [_cast(each, dtype) for each in value] if isinstance(value, list) else value
