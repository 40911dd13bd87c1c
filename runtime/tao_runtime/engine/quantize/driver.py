"""Quantises a model folder: a script of its own, run by path in whichever environment has what the method needs.

`python -I driver.py REQUEST.json`. Rounding needs torch, transformers and compressed-tensors; calibration needs
llm-compressor, whose pins are not ours. Nothing of this package is imported. Stdout is one JSON object a line:
{"event": "progress", "phase", "done", "total"}, then {"event": "done", ...} or {"event": "failed", "reason"}.
What the libraries print goes to stderr.
"""
# ruff: noqa: PLC0415 - what is imported depends on the method, and on the environment

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
# Errors of the libraries that say something about the model or the data; anything else is a bug, and a traceback.
EXPECTED = (ValueError, RuntimeError, OSError, KeyError, NotImplementedError, AttributeError, TypeError, ImportError)


class Events:
    """Writes to what was stdout, before the libraries could."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def tell(self, event: str, **detail: object) -> None:
        self._out.write(json.dumps({"event": event, **detail}) + "\n")
        self._out.flush()


def scheme_of(request: dict[str, Any]) -> Any:
    """Return the library's preset, with the group size that was asked for."""
    from compressed_tensors.quantization import preset_name_to_scheme

    scheme = preset_name_to_scheme(request["scheme"], ["Linear"])
    if request["group_size"] is not None:
        scheme.weights.group_size = request["group_size"]
    return scheme


def load(request: dict[str, Any]) -> Any:
    """Return the model in the type it is stored in."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(request["model"], dtype="auto").eval()


def round_weights(request: dict[str, Any], events: Events) -> dict[str, object]:
    """Round every weight to the nearest step; scales are the largest absolute value of a row or group."""
    import torch
    from compressed_tensors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus, apply_quantization_config
    from compressed_tensors.quantization.utils import calculate_qparams

    model, scheme = load(request), scheme_of(request)
    config = QuantizationConfig(config_groups={"group_0": scheme}, ignore=request["ignore"])
    apply_quantization_config(model, config)
    chosen = [(name, module) for name, module in model.named_modules() if hasattr(module, "weight_scale")]
    for number, (_, module) in enumerate(chosen, 1):
        weight = module.weight.detach().float()
        size = scheme.weights.group_size
        values = weight.unflatten(1, (-1, size)) if size else weight[:, None]
        scale, zero = calculate_qparams(values.amin(-1), values.amax(-1), scheme.weights)
        with torch.no_grad():
            module.weight_scale.copy_(scale.reshape(module.weight_scale.shape))
            if hasattr(module, "weight_zero_point"):
                module.weight_zero_point.copy_(zero.reshape(module.weight_zero_point.shape))
        module.quantization_status = QuantizationStatus.FROZEN
        events.tell("progress", phase="round", done=number, total=len(chosen))
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(request["out"])
    compressor.update_config(request["out"])
    return {"modules": len(chosen)}


def samples(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the inputs that were prepared, in order."""
    from safetensors.torch import load_file

    for path in sorted(folder.glob("*.safetensors")):
        yield load_file(path)


def recipe_of(request: dict[str, Any]) -> list[Any]:
    """Return what is done to the weights, in order."""
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    options: dict[str, Any] = {"config_groups": {"group_0": scheme_of(request)}, "ignore": request["ignore"]}
    if request["kv_fp8"]:
        options["kv_cache_scheme"] = {
            "num_bits": 8,
            "type": "float",
            "strategy": "tensor",
            "dynamic": False,
            "symmetric": True,
        }
    steps: list[Any] = []
    if request["smoothing"]:
        norms = {
            r"re:.*language_model\.layers\.\d+\.input_layernorm$": ["q_proj", "k_proj", "v_proj"],
            r"re:.*language_model\.layers\.\d+\.post_attention_layernorm$": ["gate_proj", "up_proj"],
        }
        mappings = [[[rf"re:.*language_model.*{name}$" for name in names], norm] for norm, names in norms.items()]
        steps.append(SmoothQuantModifier(smoothing_strength=request["smoothing"], mappings=mappings))
    modifier = GPTQModifier if request["method"] == "gptq" else QuantizationModifier
    return [*steps, modifier(**options)]


def calibrate(request: dict[str, Any], events: Events) -> dict[str, object]:
    """Quantise by what the calibration samples do in each layer, with llm-compressor."""
    import torch
    from llmcompressor import oneshot
    from torch.utils.data import DataLoader
    from transformers import PreTrainedTokenizerFast

    model = load(request)
    data: Any = list(samples(Path(request["calibration"])))
    layers = model.model.language_model.layers
    # Each layer sees each sample at least twice: to be measured, and to pass on what it gives after it was quantised.
    passes = {"done": 0, "total": 2 * len(layers) * len(data) * (2 if request["smoothing"] else 1)}

    def passed(*_: object) -> None:
        passes["done"] = min(passes["done"] + 1, passes["total"])
        events.tell("progress", phase="calibrate", **passes)

    hooks = [layer.register_forward_hook(passed) for layer in layers]
    floats = model.dtype
    loader: Any = DataLoader(data, batch_size=1, collate_fn=lambda rows: _in_type(rows[0], floats), shuffle=False)
    torch.manual_seed(0)
    oneshot(
        model=model,
        dataset=loader,
        recipe=recipe_of(request),
        # It wants one beside any data set, and reads nothing with it: the inputs are prepared.
        processor=PreTrainedTokenizerFast(tokenizer_file=str(Path(request["model"]) / "tokenizer.json")),
        num_calibration_samples=len(data),
        sequential_targets=[type(layers[0]).__name__],
    )
    for hook in hooks:
        hook.remove()
    chosen = sum(hasattr(module, "weight_scale") for module in model.modules())
    model.save_pretrained(request["out"], save_compressed=True)
    return {"modules": chosen, "samples": len(data)}


def _in_type(sample: dict[str, Any], dtype: Any) -> dict[str, Any]:
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in sample.items()}


def versions() -> dict[str, str]:
    """Return what made the weights."""
    from importlib import metadata

    found = {}
    for name in ("torch", "transformers", "compressed-tensors", "llmcompressor"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def main(path: str) -> int:
    """Do what a request says."""
    events = Events()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    request = json.loads(Path(path).read_text())
    try:
        made = round_weights(request, events) if request["method"] == "round" else calibrate(request, events)
    except EXPECTED as error:
        import traceback

        traceback.print_exc()
        events.tell("failed", reason=f"{type(error).__name__}: {error}"[:600])
        return 1
    events.tell("done", versions=versions(), **made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
