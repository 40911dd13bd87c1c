"""The demo's material of a video generator, and small runs on it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import yaml

GROUP = "runs/demo/tiny"


def make_material(family: str, folder: Path) -> Path:
    """A tiny base, 26 clips and a spec."""
    importlib.import_module(f"tao_runtime.engine.demo.{family}").prepare(folder, share=0.1)
    return folder


def is_packed(material: Path) -> bool:
    """Whether a step of the family is counted in packs."""
    return "dataset_file" in (material / "train.yaml").read_text()


def two_ranks(material: Path) -> dict[str, Any]:
    """The same steps on two processes."""
    ranks = {"model__parallelism__data_parallel_shard_degree": 2}
    return (
        {**ranks, "trainer__grad_accum_iter": 1}
        if is_packed(material)
        else {**ranks, "dataloader_train__batch_size": 4}
    )


def write_video_spec(material: Path, out: Path, **changes: Any) -> Path:
    """Write the demo's spec, smaller and with absolute paths, into `out`; `changes` are dotted keys, __ for dots."""
    spec = yaml.safe_load((material / "train.yaml").read_text())
    small = {
        "job__output_root": str(out / "runs"),
        "model__tokenizer__vae_path": str(material / "base/vae"),
        "scheduler__warm_up_steps": [2],
        "trainer": {"max_iter": 6, "logging_iter": 1},
        "checkpoint": {"load_path": str(material / "base"), "save_iter": 2},
        "dataloader_train__num_workers": 0,
    }
    if is_packed(material):  # two packs of 4 clips
        small |= {
            "dataloader_train__dataset_path": str(material / "clips"),
            "dataloader_train__max_samples_per_batch": 4,
            "trainer": {"max_iter": 6, "logging_iter": 1, "grad_accum_iter": 2},
        }
    else:
        small |= {
            "model__text_encoder": str(material / "base/text_encoder"),
            "dataloader_train__dataset_dir": str(material / "clips"),
            "dataloader_train__batch_size": 8,
        }
    for key, value in {**small, **changes}.items():
        *tables, leaf = key.split("__")
        place = spec
        for table in tables:
            place = place.setdefault(table, {})
        place[leaf] = value
    path = out / "train.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def run_dir(out: Path) -> Path:
    """Where the runs of a folder lie."""
    return out / GROUP / "train"


def write_evaluate_spec(family: str, material: Path, out: Path, **changes: Any) -> Path:
    """Write a small evaluation of the base of a material into `out`; `changes` are dotted keys, __ for dots."""
    task = {"cosmos3_vision": "vfm", "cosmos_predict1": "text2world", "cosmos_predict2": "video2world"}[family]
    clips = str(material / "clips")
    packed = {"dataset_path": clips, "dataset_file": "clips.jsonl"}
    folder = {"dataset_dir": clips, "num_frames": 17, "video_size": [64, 64]}
    small = {"num_noise_levels": 3, "num_reconstructions": 3, "num_videos": 2, "num_steps": 2, "guidance": 2.0}
    spec: dict[str, Any] = {
        "job": {"task": task, "output_root": str(out), "project": "p", "group": "g", "name": "judged"},
        "model": {"path": str(material / "base"), "precision": "float32"},
        "dataset": packed if is_packed(material) else folder,
        "evaluate": small,
    }
    for key, value in changes.items():
        table, leaf = key.split("__")
        spec[table][leaf] = value
    path = out / "evaluate.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path
