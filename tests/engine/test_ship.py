"""From two models to a verdict in one command: evaluated once each, by one spec, and judged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from runs import tao
from tao_runtime.errors import InputError

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


@pytest.mark.parametrize("fault", ["tuned", "general is a folder", "general is of no use", "twice"])
def test_nothing_is_asked_before_all_is_checked(demo_material: Path, tmp_path: Path, fault: str) -> None:
    """What is wrong with the last model or set must not cost the answers of the first."""
    from typer.testing import CliRunner

    from tao_runtime.cli.app import app
    from tao_runtime.engine.demo.cosmos_reason import evaluate_spec

    spec = evaluate_spec() | {"num_gpus": 1, "results_dir": "unused"}
    for name, data in (("evaluate", "heldout"), ("useless", "nosuch")):
        spec["dataset"] = {"annotation_path": str(demo_material / data)}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    tuned = tmp_path / "nosuch" if fault == "tuned" else demo_material / "model"
    general = {"general is a folder": "", "general is of no use": "useless.yaml"}.get(fault, "evaluate.yaml")
    models = ("--base", str(demo_material / "model"), "--tuned", str(tuned), "--general", str(tmp_path / general))
    models += ("--general", str(tmp_path / general)) if fault == "twice" else ()
    paths = ("--spec", str(tmp_path / "evaluate.yaml"), "--out", str(tmp_path / "out"))
    done = CliRunner().invoke(app, ["ship", *paths, *models])
    assert done.exit_code and done.exception is not None
    assert isinstance(done.exception, SystemExit | InputError), done.exception
    assert not (tmp_path / "out").exists(), sorted((tmp_path / "out").rglob("*"))


def test_who_generates_clips_is_told_what_judges_them(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tao_runtime.cli.app import app
    from tao_runtime.errors import FindingsError

    spec = tmp_path / "evaluate.yaml"
    template = CliRunner().invoke(app, ["template", "cosmos_predict2", "evaluate"]).stdout
    spec.write_text(template.replace("num_frames: ???", "num_frames: 61").replace("???", "some/place"))
    paths = ("--spec", str(spec), "--out", str(tmp_path / "out"), "--base", "a/b", "--tuned", "c")
    done = CliRunner().invoke(app, ["ship", *paths])
    assert isinstance(done.exception, FindingsError), done.output
    said = str(done.exception)
    assert "model.baseline_path" in said and "video_results.json" in said and "metrics.json" not in said
