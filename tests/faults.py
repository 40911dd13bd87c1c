"""Every fault that has a code, planted into an artefact that is otherwise healthy."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import artefacts as make
from tao_runtime.audit import folder

Q = "model.language_model.layers.{}.self_attn.q_proj"
LORA = "base_model.model." + Q


@dataclass(frozen=True)
class Planted:
    """What to audit, and how."""

    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """A fault of one code. `with_it`: other codes that the same fault raises."""

    code: str
    plant: Callable[[Path], Planted]
    with_it: tuple[str, ...] = ()


FAULTS: list[Fault] = []


def plants(code: str, *with_it: str) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    def register(plant: Callable[[Path], Any]) -> Callable[[Path], Any]:
        def planted(root: Path) -> Planted:
            made = plant(root)
            return made if isinstance(made, Planted) else Planted(made)

        FAULTS.append(Fault(f"audit/{code}", planted, tuple(f"audit/{name}" for name in with_it)))
        return plant

    return register


def against_base(root: Path, change: Callable[[make.Tensors], make.Tensors | None], **options: Any) -> Planted:
    """A base, and an export of it with other values (so that it was trained) and one change."""
    base = make.make_model(root / "base")
    export = make.make_model(root / "export", model_tensors_trained())
    make.rewrite(export, change)
    return Planted(export, {"base": base, **options})


def model_tensors_trained() -> make.Tensors:
    return {name: value + np.float32(0.5) for name, value in make.model_tensors().items()}


def nothing(tensors: make.Tensors) -> None:
    return None


# What cannot be looked at


@plants("unreadable")
def _(root: Path) -> Path:
    make.make_model(root)
    (root / "model.safetensors").unlink()
    os.mkfifo(root / "model.safetensors")
    return root


@plants("empty-folder")
def _(root: Path) -> Path:
    return root


@plants("unrecognised")
def _(root: Path) -> Path:
    (root / "README.md").write_text("nothing else")
    return root


@plants("too-many-files")
def _(root: Path) -> Path:
    make.make_model(root)
    for number in range(folder.MAX_ENTRIES + 1):
        (root / f"{number}.txt").touch()
    return root


@plants("json")
def _(root: Path) -> Path:
    (make.make_model(root) / "config.json").write_text('{"model_type": ')
    return root


@plants("path-outside")
def _(root: Path) -> Path:
    make.write_safetensors(root / "outside.safetensors", make.model_tensors())
    model = make.make_model(root / "model", shards=2)
    index = {"weight_map": dict.fromkeys(make.model_tensors(), "../outside.safetensors")}
    make.write_json(model / "model.safetensors.index.json", index)
    for shard in model.glob("*.safetensors"):
        shard.unlink()
    return model


@plants("pickle")
def _(root: Path) -> Path:
    make.make_model(root)
    (root / "model.safetensors").unlink()
    (root / "pytorch_model.bin").write_bytes(pickle.dumps({"w": 1}))
    return root


# One safetensors file


@plants("not-safetensors")
def _(root: Path) -> Path:
    (make.make_model(root) / "model.safetensors").write_bytes(pickle.dumps({"w": list(range(50))}))
    return root


@plants("header-length")
def _(root: Path) -> Path:
    (make.make_model(root) / "model.safetensors").write_bytes(b"\xff" * 7 + b"\x00" + b"{}")
    return root


def lying(root: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A model whose header says something else than its data."""
    tensors = make.model_tensors()
    header = make.header_of(tensors)
    change(header)
    make.write_safetensors(make.make_model(root) / "model.safetensors", tensors, header=header)
    return root


@plants("header-entry")
def _(root: Path) -> Path:
    return lying(root, lambda header: header[Q.format(1) + ".weight"].update(shape=[7, 7]))


@plants("offsets-overlap", "offsets-gap")
def _(root: Path) -> Path:
    first, second = (Q.format(layer) + ".weight" for layer in (0, 1))
    return lying(root, lambda header: header[second].update(data_offsets=header[first]["data_offsets"]))


@plants("offsets-gap", "file-truncated")
def _(root: Path) -> Path:
    def shift(header: dict[str, Any]) -> None:
        for name in list(header)[3:]:
            header[name]["data_offsets"] = [offset + 64 for offset in header[name]["data_offsets"]]

    return lying(root, shift)


@plants("file-truncated")
def _(root: Path) -> Path:
    path = make.make_model(root) / "model.safetensors"
    os.truncate(path, path.stat().st_size - 100)
    return root


@plants("file-trailing")
def _(root: Path) -> Path:
    with (make.make_model(root) / "model.safetensors").open("ab") as file:
        file.write(b"more")
    return root


@plants("duplicate-tensor")
def _(root: Path) -> Path:
    path = make.make_model(root) / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    entry = json.dumps({"lm_head.weight": make.header_of(make.model_tensors())["lm_head.weight"]}).encode()
    header = entry[:-1] + b"," + raw[9 : 8 + length]
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + length :])
    return root


@plants("empty-tensor")
def _(root: Path) -> Path:
    make.make_adapter(root)
    empty = {name: value[:0] if "layers.2" in name else value for name, value in make.adapter_tensors().items()}
    return make.make_adapter(root, empty)


@plants("non-finite")
def _(root: Path) -> Path:
    tensors = make.adapter_tensors()
    tensors[LORA.format(2) + ".lora_A.weight"][3, 3] = np.nan
    return make.make_adapter(root, tensors)


@plants("zero-tensor")
def _(root: Path) -> Planted:
    return against_base(root, lambda tensors: tensors["model.visual.merger.weight"].fill(0))


# A folder of weights


@plants("weights-missing")
def _(root: Path) -> Path:
    (make.make_model(root) / "model.safetensors").unlink()
    return root


def indexed(root: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    make.edit_json(make.make_model(root, shards=2) / "model.safetensors.index.json", change)
    return root


@plants("index-invalid", "index-missing")
def _(root: Path) -> Path:
    return indexed(root, lambda index: index.update(weight_map=[1, 2]))


@plants("index-dangling-file")
def _(root: Path) -> Path:
    (make.make_model(root, shards=8) / "model-00003-of-00008.safetensors").unlink()
    return root


@plants("index-dangling-tensor")
def _(root: Path) -> Path:
    return indexed(root, lambda index: index["weight_map"].update(ghost="model-00001-of-00002.safetensors"))


@plants("tensor-unindexed")
def _(root: Path) -> Path:
    return indexed(root, lambda index: index["weight_map"].pop("lm_head.weight"))


@plants("index-missing")
def _(root: Path) -> Path:
    (make.make_model(root, shards=2) / "model.safetensors.index.json").unlink()
    return root


@plants("file-unindexed")
def _(root: Path) -> Path:
    make.write_safetensors(make.make_model(root, shards=2) / "old.safetensors", {"w": np.ones(2, np.float32)})
    return root


@plants("index-size")
def _(root: Path) -> Path:
    return indexed(root, lambda index: index["metadata"].update(total_size=1))


# Configuration


@plants("config-missing")
def _(root: Path) -> Planted:
    planted = against_base(root, nothing)
    (planted.path / "config.json").unlink()
    return planted


@plants("config-shape")
def _(root: Path) -> Path:
    make.edit_json(make.make_model(root) / "config.json", lambda config: config["text_config"].update(hidden_size=99))
    return root


@plants("layers-missing")
def _(root: Path) -> Path:
    make.rewrite(
        make.make_model(root), lambda ts: {n: t for n, t in ts.items() if f"layers.{make.LAYERS - 1}." not in n}
    )
    return root


@plants("architecture-differs")
def _(root: Path) -> Planted:
    planted = against_base(root, nothing)
    make.edit_json(planted.path / "config.json", lambda config: config.update(model_type="other"))
    return planted


@plants("dtype-differs")
def _(root: Path) -> Path:
    make.edit_json(make.make_model(root) / "config.json", lambda config: config.update(dtype="bfloat16"))
    return root


@plants("tie-flags-differ")
def _(root: Path) -> Path:
    make.edit_json(make.make_model(root) / "config.json", lambda config: config.update(tie_word_embeddings=True))
    return root


@plants("tie-flag-changed")
def _(root: Path) -> Planted:
    planted = against_base(root, nothing)
    make.edit_json(planted.path / "config.json", lambda config: config["text_config"].pop("tie_word_embeddings"))
    return planted


@plants("head-missing")
def _(root: Path) -> Path:
    return make.make_model(root, make.model_tensors(head=False))


@plants("head-ignored")
def _(root: Path) -> Path:
    return make.make_model(root, make.model_tensors(head=True), tied=True)


@plants("tokenizer-missing")
def _(root: Path) -> Path:
    (make.make_model(root) / "tokenizer.json").unlink()
    return root


@plants("processor-missing")
def _(root: Path) -> Path:
    (make.make_model(root) / "preprocessor_config.json").unlink()
    return root


@plants("chat-template-missing")
def _(root: Path) -> Path:
    (make.make_model(root) / "chat_template.jinja").unlink()
    return root


# Against the base


@plants("base-unreadable")
def _(root: Path) -> Planted:
    planted = against_base(root, nothing)
    os.truncate(root / "base/model.safetensors", 1000)
    return planted


@plants("key-prefix")
def _(root: Path) -> Path:
    make.rewrite(make.make_model(root), lambda tensors: {f"_orig_mod.{name}": t for name, t in tensors.items()})
    return root


@plants("tensor-missing")
def _(root: Path) -> Planted:
    return against_base(root, lambda ts: {n: t for n, t in ts.items() if n != "model.visual.merger.weight"})


@plants("tensor-unexpected")
def _(root: Path) -> Planted:
    return against_base(root, lambda tensors: {**tensors, "model.extra.weight": np.ones((2, 2), np.float32)})


@plants("shape-differs")
def _(root: Path) -> Planted:
    name = "model.visual.merger.weight"
    return against_base(root, lambda tensors: {**tensors, name: np.ones((make.HIDDEN, 5), np.float32)})


@plants("fsdp-shard")
def _(root: Path) -> Planted:
    return against_base(root, lambda tensors: {name: value[: len(value) // 4] for name, value in tensors.items()})


@plants("tower-changed")
def _(root: Path) -> Planted:
    return against_base(root, nothing, expect_unchanged=["visual"])


@plants("tower-unchanged", "same-as-base")
def _(root: Path) -> Planted:
    base = make.make_model(root / "base")
    return Planted(base, {"base": base, "expect_changed": ["visual.merger"]})


@plants("tower-unknown")
def _(root: Path) -> Planted:
    return against_base(root, nothing, expect_unchanged=["audio"])


@plants("same-as-base")
def _(root: Path) -> Planted:
    return Planted(make.make_model(root / "export"), {"base": make.make_model(root / "base", shards=3)})


# Adapters


@plants("adapter-config")
def _(root: Path) -> Path:
    (make.make_adapter(root) / "adapter_config.json").unlink()
    return root


@plants("rank-mismatch")
def _(root: Path) -> Path:
    return make.make_adapter(root, r=12, rank_pattern={"v_proj": make.RANK})


@plants("pair-broken")
def _(root: Path) -> Path:
    tensors = make.adapter_tensors()
    del tensors[LORA.format(1) + ".lora_B.weight"]
    return make.make_adapter(root, tensors)


@plants("adapter-shape")
def _(root: Path) -> Planted:
    tensors = make.adapter_tensors()
    name = LORA.format(1) + ".lora_A.weight"
    tensors[name] = np.ones((make.RANK, make.HIDDEN + 1), np.float32)
    return Planted(make.make_adapter(root / "adapter", tensors), {"base": make.make_model(root / "base")})


@plants("adapter-untrained")
def _(root: Path) -> Path:
    return make.make_adapter(root, {n: t * (".lora_B" not in n) for n, t in make.adapter_tensors().items()})


@plants("adapter-partly-untrained")
def _(root: Path) -> Path:
    tensors = make.adapter_tensors()
    tensors[LORA.format(1) + ".lora_B.weight"].fill(0)
    return make.make_adapter(root, tensors)


@plants("zero-rows")
def _(root: Path) -> Path:
    tensors = make.adapter_tensors()
    tensors[LORA.format(1) + ".lora_B.weight"][[1, 5, 6]] = 0
    return make.make_adapter(root, tensors)


@plants("target-missing")
def _(root: Path) -> Path:
    return make.make_adapter(root, target_modules=["q_proj", "v_proj", "o_proj"])


@plants("adapter-layer-missing")
def _(root: Path) -> Path:
    return make.make_adapter(root, {n: t for n, t in make.adapter_tensors().items() if Q.format(2) not in n})


@plants("adapter-unmatched", "adapter-layer-missing")
def _(root: Path) -> Planted:
    other = {name.replace("self_attn", "attention"): value for name, value in make.adapter_tensors().items()}
    return Planted(make.make_adapter(root / "adapter", other), {"base": make.make_model(root / "base")})


@plants("adapter-renamed")
def _(root: Path) -> Planted:
    other = {name.replace("model.language_model", "model"): value for name, value in make.adapter_tensors().items()}
    return Planted(make.make_adapter(root / "adapter", other), {"base": make.make_model(root / "base")})


@plants("adapter-extra")
def _(root: Path) -> Path:
    return make.make_adapter(root, {**make.adapter_tensors(), "base_model.model.stray": np.ones(2, np.float32)})


# Pipelines


@plants("component-missing")
def _(root: Path) -> Path:
    make.make_pipeline(root)
    make.edit_json(root / "model_index.json", lambda index: index.update(vae=["diffusers", "AutoencoderKL"]))
    return root


@plants("component-config")
def _(root: Path) -> Path:
    (make.make_pipeline(root) / "scheduler/scheduler_config.json").unlink()
    (root / "scheduler/README.md").touch()
    return root


@plants("component-class")
def _(root: Path) -> Path:
    make.write_json(make.make_pipeline(root) / "transformer/config.json", {"_class_name": "OtherTransformer2DModel"})
    return root


@plants("component-unlisted")
def _(root: Path) -> Path:
    make.write_safetensors(make.make_pipeline(root) / "vae_old/model.safetensors", {"w": np.ones(2, np.float32)})
    return root


# Quantised weights


def quantised(root: Path, change: Callable[[make.Tensors], make.Tensors | None], **options: Any) -> Planted:
    tensors = make.quantised_tensors()
    return Planted(make.make_quantised(root, change(tensors) or tensors), options)


@plants("quant-config")
def _(root: Path) -> Path:
    return make.make_quantised(root, config_groups={})


@plants("quant-scale-missing")
def _(root: Path) -> Planted:
    lost = f"{Q.format(1)}.weight_scale"
    return quantised(root, lambda tensors: {name: value for name, value in tensors.items() if name != lost})


@plants("quant-shape")
def _(root: Path) -> Planted:
    return quantised(
        root, lambda tensors: tensors.update({f"{Q.format(1)}.weight_scale": np.ones((16, 4), np.float32)})
    )


@plants("quant-ignored")
def _(root: Path) -> Path:
    return make.make_quantised(root, ignore=["lm_head", "re:.*visual.*", "re:.*layers.2.*"])


@plants("quant-missed")
def _(root: Path) -> Planted:
    name = f"{Q.format(1)}.weight"
    return quantised(root, lambda tensors: tensors.update({name: make.model_tensors()[name]}))


@plants("quant-scale-zero")
def _(root: Path) -> Planted:
    name = f"{Q.format(1)}.weight_scale"
    return quantised(root, lambda tensors: tensors.update({name: tensors[name] * 0}), values=True)


@plants("quant-vision")
def _(root: Path) -> Path:
    name = "model.visual.merger.weight"
    tensors = make.quantised_tensors()
    tensors |= {name: np.ones((16, 16), np.int8), f"{name}_scale": np.ones((16, 2), np.float32)}
    return make.make_quantised(root, tensors, ignore=["lm_head"])
