"""Writing an export: under temporary names, judged, described by a manifest, and only then under its own name."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from safetensors.torch import save_file

from tao_runtime.audit.manifest import MANIFEST, Form, Manifest, ManifestBase, ManifestTower, measure
from tao_runtime.audit.names import tower
from tao_runtime.engine import adapter
from tao_runtime.engine.build import DTYPES
from tao_runtime.engine.commits import sync_directory, write_atomically
from tao_runtime.engine.export.assemble import Assembly
from tao_runtime.engine.export.gate import Judged, Written, judge_adapter, judge_model
from tao_runtime.engine.export.layout import carry
from tao_runtime.engine.export.stream import TensorStream
from tao_runtime.engine.families import WetFamily
from tao_runtime.engine.gates.fingerprint import checksum
from tao_runtime.engine.run_dir import now
from tao_runtime.errors import Finding
from tao_runtime.plan.model import TrainPlan

LIBRARIES = ("tao-run", "torch", "safetensors", "transformers", "diffusers", "peft")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the weights of an export come from."""

    plan: TrainPlan
    family: WetFamily
    step: int
    weights: str = "live"  # or ema
    target: str | None = None  # None: the library of the family
    checkpoint: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def base(self) -> Path:
        return Path(self.plan.model.path)

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.plan.precision.compute]


@dataclass(slots=True)
class Writer:
    """Takes the tensors of an export one by one. `model` and `adapter`: the folders that are wanted."""

    origin: Origin
    assembly: Assembly
    model: Path | None = None
    adapter: Path | None = None
    trained: frozenset[str] = frozenset()
    stream: TensorStream | None = None
    saved: dict[str, torch.Tensor] = field(default_factory=dict)
    written: Written = field(default_factory=Written)

    def __post_init__(self) -> None:
        self.written = Written(dtype=self.origin.dtype)
        for folder in self._folders():
            shutil.rmtree(temporary(folder), ignore_errors=True)
            temporary(folder).mkdir(parents=True)
        if self.model is not None:
            layout = self.origin.family.EXPORT
            forms = self.assembly.forms(self.origin.dtype)
            self.stream = TensorStream(temporary(self.model) / layout.network, layout.stem, forms)

    def _folders(self) -> list[Path]:
        return [folder for folder in (self.model, self.adapter) if folder is not None]

    def take(self, name: str, value: torch.Tensor) -> None:
        """Write one tensor."""
        if self.stream is not None:
            self.written.sums[name] = int(checksum(self.stream.write(name, value)))
        lora = self.origin.plan.model.lora
        if lora is not None and set(name.split(".")) & set(lora.modules_to_save):
            self.saved[name] = value.to(self.origin.dtype).contiguous()

    def close(self) -> list[Finding]:
        """Judge what was written; give the folders their names if nothing is wrong with any of them, else remove them.

        Returns the findings of severity error.
        """
        judged: dict[Path, tuple[Form, Judged]] = {}
        try:
            if self.model is not None:
                judged[self.model] = (
                    "full" if self.origin.plan.model.lora is None else "merged",
                    self._close_model(temporary(self.model)),
                )
            if self.adapter is not None:
                judged[self.adapter] = ("adapter", self._close_adapter(temporary(self.adapter)))
            wrong = [finding for _, each in judged.values() for finding in each.findings]
            if not wrong:
                for folder, (form, each) in judged.items():
                    self._describe(temporary(folder), form, each)
                for folder in judged:
                    publish(folder)
        finally:
            self.discard()
        return wrong

    def discard(self) -> None:
        """Remove what was not finished."""
        for folder in self._folders():
            shutil.rmtree(temporary(folder), ignore_errors=True)

    def _close_model(self, folder: Path) -> Judged:
        assert self.stream is not None
        self.stream.close()
        family, base = self.origin.family, self.origin.base
        family.EXPORT.finish(base, folder, self.origin.dtype)
        return judge_model(folder, base, family.EXPORT, self.written, self.trained)

    def _close_adapter(self, folder: Path) -> Judged:
        """Write an adapter in peft's own layout."""
        lora, layout, base = self.origin.plan.model.lora, self.origin.family.EXPORT, self.origin.base
        assert lora is not None
        tensors = {
            f"base_model.model.{name.replace(f'.{adapter.ADAPTER}.', '.')}": value.contiguous()
            for name, value in self.assembly.lora.items()
        }
        tensors |= {f"base_model.model.{name}": value for name, value in self.saved.items()}
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = adapter.lora_config(lora, base=str(base / layout.network), task=layout.adapter_task)
        config.inference_mode = True
        config.save_pretrained(folder)
        if layout.carried:
            carry(base, folder)
        written = Written({name: int(checksum(value)) for name, value in tensors.items()}, torch.float32)
        return judge_adapter(folder, base, self.origin.family, written)

    def _describe(self, folder: Path, form: Form, judged: Judged) -> None:
        origin = self.origin
        manifest = Manifest(
            family=origin.plan.family,
            form=form,
            target=origin.target or origin.family.EXPORT.library,
            weights="ema" if origin.weights == "ema" else "live",
            step=origin.step,
            spec_sha256=origin.plan.spec_sha256,
            checkpoint=str(origin.checkpoint) if origin.checkpoint else None,
            base=ManifestBase(path=str(origin.base), weights_sha256=origin.plan.model.weights_sha256),
            towers=tuple(_towers(judged, self.trained)),
            files=measure(folder),
            libraries=libraries(),
            notes=origin.notes,
            created_at=now(),
        )
        write_atomically(folder / MANIFEST, manifest.model_dump_json(by_alias=True, indent=1) + "\n")


def _towers(judged: Judged, trained: Iterable[str]) -> list[ManifestTower]:
    changed = {tower(name) for name in trained}
    rows = []
    for each in judged.towers:
        is_cast = judged.cast and each.name not in changed
        rows.append(
            ManifestTower(
                name=each.name,
                tensors=each.tensors,
                parameters=each.parameters,
                sha256=each.sha256,
                state="cast" if is_cast else each.state,
                source="run" if each.name in changed else "base",
            )
        )
    return rows


def libraries() -> dict[str, str]:
    """Return the versions of what takes part, where it is installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def temporary(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.tmp")


def publish(folder: Path) -> None:
    """Give a finished folder its name, in place of an older one."""
    shutil.rmtree(folder, ignore_errors=True)
    temporary(folder).rename(folder)
    sync_directory(folder.parent)
