"""From two models to a verdict in one command: evaluated once each, by one spec, and judged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from runs import tao

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def shipped(demo_material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a copy of it with one tensor changed, and what came of shipping that one."""
    from safetensors.torch import load_file, save_file

    from tao_runtime.engine.demo.cosmos_reason import evaluate_spec

    folder = tmp_path_factory.mktemp("ship")
    shutil.copytree(demo_material / "model", folder / "tuned")
    tensors = load_file(folder / "tuned/model.safetensors")
    name = next(key for key in tensors if key.endswith("embed_tokens.weight"))
    tensors[name] = tensors[name].flip(0).contiguous()
    save_file(tensors, folder / "tuned/model.safetensors", metadata={"format": "pt"})
    for name, data in (("evaluate", "heldout"), ("other", "val")):
        spec = evaluate_spec() | {"num_gpus": 1, "results_dir": "unused"}
        spec["dataset"] = {"annotation_path": str(demo_material / data)}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    ship(folder, demo_material)
    return folder


def ship(folder: Path, material: Path) -> str:
    models = ("--base", str(material / "model"), "--tuned", "tuned")
    return tao(
        *("ship", "--spec", "evaluate.yaml", *models, "--general", "other.yaml", "--out", "out", "--json"), cwd=folder
    ).stdout


@pytest.mark.slow
def test_each_set_is_asked_of_each_model(shipped: Path) -> None:
    report = json.loads((shipped / "out/ship.json").read_text())
    assert [(each["name"], each["role"], each["n"]) for each in report["sets"]] == [
        ("evaluation", "evaluation", 16),
        ("other", "general", 6),
    ]
    assert report["verdict"] == "cannot tell"
    assert "data:image/jpeg" in (shipped / "out/ship.html").read_text() or not report["sets"][0]["versus"][0]["flips"]
    for place in ("evaluation/base", "evaluation/tuned", "other/base", "other/tuned"):
        assert (shipped / "out" / place / "run.json").is_file()
    assert not (shipped / "unused").exists()


@pytest.mark.slow
def test_what_is_complete_is_not_asked_again_and_other_weights_are(shipped: Path, demo_material: Path) -> None:
    def stamps() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in sorted((shipped / "out").rglob("results.json"))}

    before = stamps()
    ship(shipped, demo_material)
    assert stamps() == before
    (shipped / "tuned/model.safetensors").touch()
    ship(shipped, demo_material)
    assert {path for path, time in stamps().items() if time != before[path]} == {p for p in before if "/tuned/" in p}
