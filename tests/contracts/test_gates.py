"""Planted faults: each ends a real training with a sentence that names it, a failed gate, and no run.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs import tao, tensors, write_train_spec

torch = pytest.importorskip("torch")

from tao_runtime.engine.dist import join_world
from tao_runtime.engine.gates.fingerprint import not_finite, take
from tao_runtime.engine.gates.first_step import gate_supervised
from tao_runtime.engine.gates.start import lost_blocks, strange_blocks
from tao_runtime.engine.gates.verdicts import Verdicts
from tao_runtime.engine.run_dir import RunLog
from tao_runtime.errors import RunError

Tensors = dict[str, Any]
LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
GATES = [
    "base-weights",
    "trainable",
    "supervised-tokens",
    "first-loss",
    "conditioning",
    "gradient",
    "frozen",
    "moved",
    "finite-steps",
    "export",
]


def gates(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the last outcome of each gate in status.jsonl."""
    events = [json.loads(line) for line in (run_dir / "status.jsonl").read_text().splitlines()]
    return {event["gate"]: event for event in events if event["event"] == "gate"}


def train(material: Path, folder: Path, *, model: Path | None = None, want: int = 3, **changes: Any) -> str:
    """Train two steps; returns what was said on standard error."""
    changes = {"train__max_num_steps": 2, "train__optm_warmup_steps": 1, "validation__freq_in_epoch": 1, **changes}
    if model is not None:
        changes["policy__model_name_or_path"] = str(model)
    spec = write_train_spec(folder / "train.yaml", material, folder / "run", **changes)
    done = tao("train", "--spec", str(spec), cwd=folder, want=want)
    assert (folder / "run/run.json").exists() == (want == 0)
    return done.stderr


def plant(material: Path, folder: Path, change: Callable[[Tensors], Tensors]) -> Path:
    """Copy the snapshot with other tensors."""
    from safetensors.torch import save_file

    shutil.copytree(material / "model", folder / "model")
    save_file(change(tensors(folder / "model")), folder / "model/model.safetensors", metadata={"format": "pt"})
    return folder / "model"


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda values: {name: value for name, value in values.items() if part not in name}


def scaled(part: str, factor: float) -> Callable[[Tensors], Tensors]:
    return lambda values: {name: value * (factor if part in name else 1.0) for name, value in values.items()}


def with_nan(values: Tensors) -> Tensors:
    values["model.language_model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
    return values


@pytest.mark.parametrize("nproc", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_sound_run_passes_every_gate(demo_material: Path, tmp_path: Path, nproc: int) -> None:
    changes = {"policy__parallelism__dp_shard_size": nproc, "policy__lora": {**LORA, "modules_to_save": ["visual"]}}
    batch = {"train__train_batch_per_replica": 8 // nproc, "train__train_policy__mini_batch": 8 // nproc}
    said = train(demo_material, tmp_path, want=0, train__optm_lr=0.01, **changes, **batch)
    passed = gates(tmp_path / "run")
    assert list(passed) == GATES
    assert all(gate["ok"] for gate in passed.values())
    assert passed["frozen"]["tensors"] == 22 + 2 and passed["trainable"]["parts"]["language_model"]["tensors"] == 8
    recorded = json.loads((tmp_path / "run/run.json").read_text())["gates"]
    assert [gate["gate"] for gate in recorded] == GATES
    assert "warning[gate/first-loss] the base predicts no better than guessing does" in said


@pytest.mark.parametrize(
    ("change", "gate", "words"),
    [
        (without("language_model.layers.1."), "base-weights", "model.language_model.layers.1: none of its 11 tensors"),
        (without(".visual."), "base-weights", "model.visual: none of its 39 tensors is in the snapshot"),
        (with_nan, "base-weights", "layers.1.mlp.up_proj.weight: 1 numbers of the base are not finite"),
        (scaled("embed_tokens", 30.0), "first-loss", "want at most 8.926"),
        (scaled("linear_fc2", 0.0), "gradient", "model.visual.blocks.0"),
    ],
    ids=["block-missing", "no-vision", "nan", "wrong-scale", "dead-blocks"],
)
def test_a_broken_base_stops_the_run(
    demo_material: Path, tmp_path: Path, change: Callable[[Tensors], Tensors], gate: str, words: str
) -> None:
    said = train(demo_material, tmp_path, model=plant(demo_material, tmp_path, change))
    assert words in said
    assert not gates(tmp_path / "run")[gate]["ok"]
    assert "Traceback" not in said


def test_a_video_that_cannot_matter_stops_the_run(demo_material: Path, tmp_path: Path) -> None:
    """The last layers of the projector are zero, and only the language model is trained: the loss would fall."""
    model = plant(demo_material, tmp_path, scaled("linear_fc2", 0.0))
    said = train(demo_material, tmp_path, model=model, policy__lora=LORA)
    assert "gate conditioning: with every pixel of the first batch changed, its loss stays" in said
    assert [name for name, gate in gates(tmp_path / "run").items() if not gate["ok"]] == ["conditioning"]


def test_a_config_of_another_size_stops_the_run(demo_material: Path, tmp_path: Path) -> None:
    model = plant(demo_material, tmp_path, lambda values: values)
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 1
    (model / "config.json").write_text(json.dumps(config))
    said = train(demo_material, tmp_path, model=model)
    assert "the snapshot has model.language_model.layers.1 and the model has not" in said


def test_a_tower_frozen_by_mistake_stops_the_run(demo_material: Path, tmp_path: Path) -> None:
    changes = {"policy__lora": {**LORA, "modules_to_save": ["visual"]}, "policy__freeze_pattern": ["visual"]}
    said = train(demo_material, tmp_path, **changes)
    assert "policy.lora.modules_to_save wants visual, and 39 of its 39 tensors are frozen" in said
    assert not gates(tmp_path / "run")["trainable"]["ok"]


def test_lora_on_nothing_stops_the_run(demo_material: Path, tmp_path: Path) -> None:
    said = train(demo_material, tmp_path, policy__lora={**LORA, "target_modules": ["model.base.q_proj"]})
    assert "target_modules" in said and "model.base.q_proj" in said


def test_weights_that_do_not_move_stop_the_run(demo_material: Path, tmp_path: Path) -> None:
    """A rate so small that every change is lost in rounding: the run would end green with the base it began with."""
    said = train(demo_material, tmp_path, train__optm_lr=1e-30)
    assert "gate moved: " in said and "the same bits as before the first step" in said
    assert not gates(tmp_path / "run")["moved"]["ok"]


def test_a_batch_without_supervised_tokens_is_named(tmp_path: Path) -> None:
    verdicts = Verdicts(RunLog(tmp_path, is_main=True))
    gate_supervised(verdicts, counted=0, planned=16, lost=0)
    with pytest.raises(RunError, match=r"no token of the first step is supervised(.|\n)*the plan says 16"):
        verdicts.settle()
    assert gates(tmp_path)["supervised-tokens"]["counted"] == 0


def test_one_changed_bit_is_seen_and_named() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64).to(torch.bfloat16))
    with join_world() as world:
        before = take(model)
        assert before.changed(take(model), world) == set()
        model[1].weight.data.view(torch.int16)[63, 17] ^= 1
        model[0].bias.data[[0, 1]] = model[0].bias.data[[1, 0]]  # a sum alone would not see it
        assert before.changed(take(model), world) == {"1.weight", "0.bias"}
        model[0].weight.data[5, 5] = float("inf")
        assert not_finite(model, world) == {"0.weight": 1}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_taking_a_fingerprint_changes_nothing(dtype: Any) -> None:
    model = torch.nn.Linear(300, 700, dtype=dtype)
    before = model.weight.detach().clone()
    assert take(model) == take(model)
    assert torch.equal(model.weight, before)


def test_blocks_are_told_from_single_tensors() -> None:
    expected = [f"model.text.layers.{block}.{name}" for block in range(3) for name in ("a.weight", "b.weight")]
    assert lost_blocks(expected[2:3], expected) == []
    assert lost_blocks(expected[2:4], expected) == ["model.text.layers.1: none of its 2 tensors is in the snapshot"]
    assert lost_blocks(expected, expected) == ["model.text: none of its 6 tensors is in the snapshot"]
    assert strange_blocks(["model.text.layers.3.a.weight", "model.text.norm.weight"], expected) == [
        "model.text.layers.3"
    ]
