"""Laws of adapters: what was trained is what the adapter holds, and merging changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runs import losses, tao, tensors, write_train_spec

torch = pytest.importorskip("torch")

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj", "attn.qkv"]}


def train_lora(material: Path, folder: Path, *, nproc: int = 1, **lora: Any) -> Path:
    changes = {
        "policy__lora": {**LORA, **lora},
        "policy__parallelism__dp_shard_size": nproc,
        "train__train_batch_per_replica": 8 // nproc,
        "train__train_policy__mini_batch": 8 // nproc,
        "train__optm_lr": 0.01,
    }
    spec = write_train_spec(folder / "train.yaml", material, folder / "run", **changes)
    tao("train", "--spec", str(spec), cwd=folder)
    return folder / "run"


@pytest.fixture(scope="module")
def adapted(demo_material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_lora(demo_material, tmp_path_factory.mktemp("lora"))


def load_with_peft(material: Path, adapter: Path) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    return PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(material / "model"), adapter)


def test_peft_reads_the_adapter_and_merges_to_our_export(adapted: Path, demo_material: Path) -> None:
    merged = load_with_peft(demo_material, adapted / "export/adapter").merge_and_unload().state_dict()
    ours = tensors(adapted / "export/model")
    assert max(float((ours[name] - merged[name]).abs().max()) for name in ours) < 1e-6


def test_only_what_the_spec_names_has_moved(adapted: Path, demo_material: Path) -> None:
    before, after = tensors(demo_material / "model"), tensors(adapted / "export/model")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.removesuffix(".weight").endswith(tuple(LORA["target_modules"])) for name in moved)
    assert len(moved) == 2 * 3 + 2  # three per decoder layer, one per vision block


def test_every_matrix_was_trained(adapted: Path) -> None:
    adapter = tensors(adapted / "export/adapter")
    assert all(float(value.abs().max()) > 0 for value in adapter.values())
    gates = {gate["gate"]: gate for gate in json.loads((adapted / "run.json").read_text())["gates"]}
    assert gates["trainable"]["detail"]["lora_tensors"] == len(adapter) == 2 * (2 * 3 + 2)


def test_two_ranks_train_the_same_adapter(adapted: Path, demo_material: Path, tmp_path: Path) -> None:
    run = train_lora(demo_material, tmp_path, nproc=2)
    assert losses(run) == pytest.approx(losses(adapted), abs=1e-5)
    ours, theirs = tensors(run / "export/adapter"), tensors(adapted / "export/adapter")
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-4


def test_saved_modules_are_in_the_adapter(demo_material: Path, tmp_path: Path) -> None:
    run = train_lora(demo_material, tmp_path, target_modules=["q_proj"], modules_to_save=["visual"])
    merged = load_with_peft(demo_material, run / "export/adapter").merge_and_unload().state_dict()
    ours, before = tensors(run / "export/model"), tensors(demo_material / "model")
    assert max(float((ours[name] - merged[name]).abs().max()) for name in ours) < 1e-6
    assert all(not torch.equal(ours[name], before[name]) for name in ours if ".visual." in name)


@pytest.mark.parametrize(
    "lora",
    [
        {"use_rslora": True},
        pytest.param({"init_lora_weights": "gaussian"}, marks=pytest.mark.slow),
        pytest.param({"init_lora_weights": False}, marks=pytest.mark.slow),
        pytest.param({"lora_dropout": 0.1}, marks=pytest.mark.slow),
        {"r_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 4}},
        pytest.param({"target_modules": "all-linear"}, marks=pytest.mark.slow),
    ],
    ids=lambda lora: next(iter(lora)),
)
def test_every_lora_key_is_honoured(adapted: Path, demo_material: Path, tmp_path: Path, lora: dict[str, Any]) -> None:
    """Each key changes the run, and peft, reading the adapter, still merges to our export."""
    run = train_lora(demo_material, tmp_path, **lora)
    assert losses(run) != losses(adapted)
    merged = load_with_peft(demo_material, run / "export/adapter").merge_and_unload().state_dict()
    ours = tensors(run / "export/model")
    assert max(float((ours[name] - merged[name]).abs().max()) for name in ours) < 1e-6
