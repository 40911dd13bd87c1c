"""Things that once ended green and were wrong; each stays a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runs import losses, tao, tensors, write_train_spec

torch = pytest.importorskip("torch")


def test_a_trainable_pattern_trains_nothing_else(demo_material: Path, tmp_path: Path) -> None:
    spec = write_train_spec(
        tmp_path / "t.yaml", demo_material, tmp_path / "run", policy__trainable_pattern=["visual.merger"]
    )
    tao("train", "--spec", str(spec), cwd=tmp_path)
    before, after = tensors(demo_material / "model"), tensors(tmp_path / "run/export/model")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "visual.merger" in name}


@pytest.mark.slow
def test_a_changed_rate_is_used_after_a_resume(demo_material: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "t.yaml", demo_material, tmp_path / "run", train__epoch=1)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    (tmp_path / "run/run.json").unlink()
    tao("train", "--spec", str(spec), "train.epoch=2", "train.optm_lr=1e-9", cwd=tmp_path)
    rates = losses(tmp_path / "run", "optimizer/lr")
    assert rates[0] > 1e-6
    assert all(rate <= 1e-9 for rate in rates[4:])


def evaluate_spec(path: Path, material: Path, out: Path, **model: object) -> Path:
    import yaml

    from tao_runtime.engine.demo.cosmos_reason import evaluate_spec as spec

    made: dict[str, object] = spec()
    made |= {"results_dir": str(out), "num_gpus": 1, "dataset": {"annotation_path": str(material / "heldout")}}
    made["model"] = {"dtype": "float32", "max_length": 40960, **model}
    path.write_text(yaml.safe_dump(made))
    return path


def test_an_adapter_that_does_not_match_is_refused(demo_material: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    lora = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    spec = write_train_spec(
        tmp_path / "t.yaml", demo_material, tmp_path / "run", policy__lora=lora, train__max_num_steps=2
    )
    tao("train", "--spec", str(spec), "train.optm_warmup_steps=0", cwd=tmp_path)
    adapter = tmp_path / "run/export/adapter"
    renamed = {name.replace("base_model.", "module."): value for name, value in tensors(adapter).items()}
    save_file(renamed, adapter / "adapter_model.safetensors")
    model = {"enable_lora": True, "base_model_path": str(demo_material / "model"), "model_name": str(adapter)}
    asked = evaluate_spec(tmp_path / "e.yaml", demo_material, tmp_path / "out", **model)
    done = tao("evaluate", "--spec", str(asked), cwd=tmp_path, want=3)
    assert "0 of 4 adapter tensors match the model" in done.stderr
    assert not (tmp_path / "out/run.json").exists()


@pytest.mark.slow
def test_saved_answers_of_another_model_are_refused(demo_material: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(demo_material / "model", tmp_path / "other")
    first, second = (
        evaluate_spec(tmp_path / f"{path.name}.yaml", demo_material, tmp_path / "out", model_name=str(path))
        for path in (demo_material / "model", tmp_path / "other")
    )
    limit = ["evaluation.skip_saved=true", "evaluation.limit=2"]
    tao("evaluate", "--spec", str(first), *limit, cwd=tmp_path)
    done = tao("evaluate", "--spec", str(second), *limit, cwd=tmp_path, want=1)
    assert "holds what another spec, model, prompt or input was answered with" in done.stderr
    part = next((tmp_path / "out/parts").glob("*.jsonl"))
    part.write_text(part.read_text().rstrip()[:-5])  # a process that was killed leaves half a line
    tao("evaluate", "--spec", str(first), *limit, cwd=tmp_path)
    assert len(json.loads((tmp_path / "out/results.json").read_text())) == 2
