"""Faults of checkpoints, planted into real ones of torch's distributed checkpoint."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp

from tao_runtime.data.commit import Commit
from tao_runtime.engine.commits import commit_name, seal

CHECKPOINT_FAULTS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {}
STEP = commit_name(2)


def plants(code: str, *with_it: str) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    def register(plant: Callable[[Path], Path]) -> Callable[[Path], Path]:
        CHECKPOINT_FAULTS[f"audit/{code}"] = plant, tuple(f"audit/{name}" for name in with_it)
        return plant

    return register


def save_part(folder: Path) -> Path:
    """Save tensors and a plain value as one process does."""
    state = {"layers.0.weight": torch.randn(8, 4), "bias": torch.randn(3), "step": 5}
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


def make_run(root: Path) -> Path:
    """Make checkpoints of a run of ours: parts, small JSON files, COMMIT, pointer."""
    checkpoints = root / "checkpoints"
    for step in (1, 2):
        temporary = checkpoints / f".saving-{step}"
        for part in ("model", "optim"):
            save_part(temporary / part)
        for name in ("scheduler/state.json", "trainer/state.json", "dataloader/cursor.json"):
            (temporary / name).parent.mkdir()
            (temporary / name).write_text("{}")
        commit = Commit(step=step, world_size=1, identity="i", spec_sha256="s", files={})
        seal(temporary, checkpoints / commit_name(step), commit)
    return root


def make_foreign(root: Path) -> Path:
    """Make a checkpoint in the layout of a trainer that has no COMMIT: four sharded parts and a pointer."""
    for part in ("model", "optim", "scheduler", "trainer"):
        save_part(root / "checkpoints" / STEP / part)
    (root / "checkpoints/latest_checkpoint.txt").write_text(STEP)
    return root


def pretend_two_ranks(folder: Path) -> Path:
    """Give a part a second rank's file, and a table of contents that names both."""
    data = (folder / ".metadata").read_bytes()
    shutil.copy(folder / "__0_0.distcp", folder / "__1_0.distcp")
    first, name = data.split(b"__0_0.distcp", 1)
    (folder / ".metadata").write_bytes(first + b"__1_0.distcp" + name)
    (folder / "__0_0.distcp").unlink()
    return folder


@plants("dcp-metadata-missing")
def _(root: Path) -> Path:
    (save_part(root / "part") / ".metadata").unlink()
    return root


@plants("dcp-metadata")
def _(root: Path) -> Path:
    (save_part(root / "part") / ".metadata").write_bytes(pickle.dumps({"no": "table"}))
    return root


@plants("dcp-file-missing")
def _(root: Path) -> Path:
    (save_part(root / "part") / "__0_0.distcp").unlink()
    return root


@plants("dcp-rank-gap", "dcp-metadata-missing")
def _(root: Path) -> Path:
    (pretend_two_ranks(save_part(root / "part")) / ".metadata").unlink()
    return root


@plants("dcp-truncated")
def _(root: Path) -> Path:
    os.truncate(save_part(root / "part") / "__0_0.distcp", 100)
    return root


@plants("dcp-chunk-missing")
def _(root: Path) -> Path:
    path = save_part(root / "part") / ".metadata"
    with path.open("rb") as file:
        table = pickle.load(file)  # noqa: S301 - written three lines above
    table.state_dict_metadata["layers.0.weight"].chunks[0].sizes = torch.Size([4, 4])
    path.write_bytes(pickle.dumps(table))
    return root


@plants("dcp-part-missing")
def _(root: Path) -> Path:
    shutil.rmtree(make_foreign(root) / "checkpoints" / STEP / "model")
    return root


@plants("commit-invalid")
def _(root: Path) -> Path:
    (make_run(root) / "checkpoints" / STEP / "COMMIT").write_text("{}")
    return root


@plants("commit-damage")
def _(root: Path) -> Path:
    path = make_run(root) / "checkpoints" / STEP / "optim/__0_0.distcp"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    return root


@plants("commit-missing")
def _(root: Path) -> Path:
    (make_run(root) / "checkpoints" / STEP / "COMMIT").unlink()
    return root


@plants("pointer-dangling")
def _(root: Path) -> Path:
    (make_run(root) / "checkpoints/latest_checkpoint.txt").write_text("iter_000000009")
    return root
