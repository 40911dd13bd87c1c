"""Export: a directory that the family's library loads, with the adapter beside it when LoRA was trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor

from tao_runtime.engine import adapter
from tao_runtime.engine.build import DTYPES, Built
from tao_runtime.engine.dist import World
from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.stop import StopRequest
from tao_runtime.engine.weights import INDICES, Snapshot, clean_name
from tao_runtime.errors import RunError, StoppedError
from tao_runtime.plan.model import LoraPlan, TrainPlan

SHARD_BYTES = 4 << 30
# Everything of a snapshot that is not a weight travels with it: tokenizer, processor, chat template, generation.
CARRIED = ("*.json", "*.txt", "*.jinja", "*.model")
NOT_CARRIED = ("config.json", *INDICES, "adapter_config.json")


@dataclass(frozen=True, slots=True)
class ExportLayout:
    """How a model lies in its folder, by the library that loads it."""

    stem: str  # of the files of weights
    finish: Callable[[Path, Path, torch.dtype], None]  # (base, folder, dtype): write what belongs beside the weights
    network: str = ""  # folder of the weights inside
    adapter_task: str | None = None  # what peft calls the task of an adapter; None: it wraps any network
    carried: bool = True  # an adapter has what the base carries beside it, such as its tokenizer


def export(
    built: Built, family: WetFamily, plan: TrainPlan, run_dir: Path, *, world: World, stop: StopRequest
) -> dict[str, str]:
    """Write <run>/export/model, and <run>/export/adapter for LoRA; returns both relative to the run. Collective.

    Raises:
        StoppedError: the run was asked to stop; no directory is half-written.
    """
    outputs = {"model": "export/model"}
    base = Path(plan.model.path)
    dtype = DTYPES[plan.precision.compute]
    writer = ShardWriter(run_dir / "export" / "model", family.EXPORT) if world.is_main else None
    lora: dict[str, torch.Tensor] = {}
    for name, value in full_tensors(built.model):
        if stop.agreed():
            stop.settle()
            raise StoppedError("stopped on request while the weights were exported; run the same command again for it")
        if ".lora_" in name:
            lora[name] = value
        elif writer is not None and name not in built.fresh:
            writer.add(clean_name(name), value, dtype=dtype, held=".base_layer." in name)
    if plan.model.lora is not None:
        outputs["adapter"] = "export/adapter"
        if writer is not None:
            _merge(built.model, writer, lora, dtype=dtype)
            saved = {
                name: value
                for name, value in writer.all()
                if set(name.split(".")) & set(plan.model.lora.modules_to_save)
            }
            folder = run_dir / "export" / "adapter"
            write_adapter(folder, plan.model.lora, lora, saved=saved, base=base, layout=family.EXPORT)
    stop.settle()
    if writer is not None:
        writer.close(base, dtype=dtype)
        verify(run_dir / "export" / "model" / family.EXPORT.network, built)
    world.barrier()
    return outputs


def full_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name, whole CPU tensor) of every parameter. Collective: every rank must go through all of it."""
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        yield name, (value.full_tensor() if isinstance(value, DTensor) else value).cpu()


class ShardWriter:
    """Collects tensors and writes them as safetensors shards with an index, under a temporary name until closed."""

    def __init__(self, directory: Path, layout: ExportLayout) -> None:
        self.layout = layout
        self.directory = directory
        self.temporary = directory.with_name(f".{directory.name}.tmp")
        shutil.rmtree(self.temporary, ignore_errors=True)
        (self.temporary / layout.network).mkdir(parents=True)
        self.held: dict[str, torch.Tensor] = {}  # float32 base weights that LoRA is still to be merged into
        self._ready: dict[str, torch.Tensor] = {}

    def add(self, name: str, value: torch.Tensor, *, dtype: torch.dtype, held: bool = False) -> None:
        """Take a tensor; a held one waits for `release`."""
        if held:
            self.held[name] = value
        else:
            self._ready[name] = value.to(dtype).contiguous()

    def release(self, name: str, delta: torch.Tensor | None, *, dtype: torch.dtype) -> None:
        """Add `delta` to a held tensor and write it."""
        value = self.held.pop(name)
        self._ready[name] = (value if delta is None else value.float() + delta).to(dtype).contiguous()

    def all(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self._ready.items()

    def close(self, base: Path, *, dtype: torch.dtype) -> None:
        """Write shards, index and what belongs beside them; then take the final name."""
        stem, folder = self.layout.stem, self.temporary / self.layout.network
        shards = _split(self._ready)
        total = sum(value.nbytes for value in self._ready.values())
        weight_map = {}
        for number, names in enumerate(shards, 1):
            single = len(shards) == 1
            file = f"{stem}.safetensors" if single else f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
            save_file({name: self._ready[name] for name in names}, folder / file, metadata={"format": "pt"})
            weight_map.update(dict.fromkeys(names, file))
        if len(shards) > 1:
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1, sort_keys=True))
        self.layout.finish(base, self.temporary, dtype)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.temporary.rename(self.directory)


def _split(tensors: dict[str, torch.Tensor]) -> list[list[str]]:
    """Return names in shards of at most SHARD_BYTES each."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, value in tensors.items():
        if shards[-1] and size + value.nbytes > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += value.nbytes
    return shards


def carry(base: Path, target: Path) -> None:
    """Copy the files of a snapshot that are not weights."""
    for pattern in CARRIED:
        for file in base.glob(pattern):
            if file.name not in NOT_CARRIED:
                shutil.copyfile(file, target / file.name)


def _merge(model: nn.Module, writer: ShardWriter, lora: dict[str, torch.Tensor], *, dtype: torch.dtype) -> None:
    """Merge each adapter into its base weight: W + scaling x B A, in float32."""
    for name, layer in adapter.lora_layers(model):
        down, up = (_find(lora, name, matrix).float() for matrix in ("lora_A", "lora_B"))
        writer.release(f"{name}weight", layer.scaling[adapter.ADAPTER] * (up @ down), dtype=dtype)
    for name in list(writer.held):  # biases of layers with an adapter
        writer.release(name, None, dtype=dtype)


def _find(lora: dict[str, torch.Tensor], layer: str, matrix: str) -> torch.Tensor:
    wanted = f"{layer}{matrix}.{adapter.ADAPTER}.weight"
    return next(value for name, value in lora.items() if clean_name(name) == wanted)


def write_adapter(
    directory: Path,
    plan: LoraPlan,
    lora: dict[str, torch.Tensor],
    *,
    saved: dict[str, torch.Tensor],
    base: Path,
    layout: ExportLayout,
) -> None:
    """Write an adapter in peft's own layout, whole or not at all."""
    temporary = directory.with_name(f".{directory.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tensors = {
        f"base_model.model.{clean_name(name).replace(f'.{adapter.ADAPTER}.', '.')}": value.contiguous()
        for name, value in lora.items()
    }
    tensors |= {f"base_model.model.{name}": value for name, value in saved.items()}
    save_file(tensors, temporary / "adapter_model.safetensors", metadata={"format": "pt"})
    config = adapter.lora_config(plan, base=str(base / layout.network), task=layout.adapter_task)
    config.inference_mode = True
    config.save_pretrained(temporary)
    if layout.carried:
        carry(base, temporary)
    shutil.rmtree(directory, ignore_errors=True)
    temporary.rename(directory)


def verify(directory: Path, built: Built) -> None:
    """Check the export from its files: every parameter once, with its shape, and nothing else.

    Raises:
        RunError: the export is not what the run trained.
    """
    snapshot = Snapshot(directory)
    expected = {
        clean_name(name): tuple(value.shape)
        for name, value in built.model.named_parameters()
        if ".lora_" not in name and name not in built.fresh
    }
    problems = [f"{name}: missing" for name in expected.keys() - snapshot.names]
    problems += [f"{name}: not a parameter" for name in snapshot.names - expected.keys()]
    problems += [
        f"{name}: {tuple(snapshot.read(name).shape)}, want {shape}"
        for name, shape in expected.items()
        if name in snapshot.names and tuple(snapshot.read(name).shape) != shape
    ]
    if problems:
        raise RunError(f"{directory}: {len(problems)} tensors are wrong: {'; '.join(sorted(problems)[:5])}")
