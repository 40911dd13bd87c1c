"""Laws of exports: the same bytes from a checkpoint as from the training that saved it, and no fault gets a name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from video_runs import make_material, run_dir, write_video_spec

from runs import ENVIRONMENT, events, tao, tensors, write_train_spec

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj", "attn.qkv"]}


@pytest.fixture(scope="module")
def adapted(demo_material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of 4 steps that trained an adapter."""
    folder = tmp_path_factory.mktemp("adapted")
    changes = {"policy__lora": LORA, "train__optm_lr": 0.01, "train__epoch": 1}
    spec = write_train_spec(folder / "train.yaml", demo_material, folder / "run", **changes)
    tao("train", "--spec", str(spec), cwd=folder)
    return folder / "run"


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of 2 steps of a video generator, with averages."""
    folder = tmp_path_factory.mktemp("generator")
    spec = write_video_spec(make_material("cosmos_predict1", folder), folder, trainer__max_iter=2)
    tao("train", "--spec", str(spec), cwd=folder)
    return run_dir(folder)


def export(source: Path, out: Path, **wish: Any) -> dict[str, Any]:
    from tao_runtime.engine.export.checkpoint import Wish, export_checkpoint

    export_checkpoint(source, out, Wish(**wish))
    return json.loads((out / "manifest.json").read_text())


def same(ours: Path, theirs: Path) -> bool:
    first, second = tensors(ours), tensors(theirs)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_checkpoint_exports_what_its_training_did(adapted: Path, tmp_path: Path) -> None:
    manifest = export(adapted, tmp_path / "merged")
    assert same(tmp_path / "merged", adapted / "export/model")
    assert (manifest["form"], manifest["step"], manifest["weights"]) == ("merged", 4, "live")
    assert manifest["checkpoint"].endswith("checkpoints/iter_000000004")
    assert export(adapted / "checkpoints/iter_000000003", tmp_path / "third")["step"] == 3
    assert not same(tmp_path / "third", tmp_path / "merged")


def test_an_adapter_alone_is_the_training_s(adapted: Path, tmp_path: Path) -> None:
    manifest = export(adapted, tmp_path / "adapter", form="adapter", target="vllm")
    assert same(tmp_path / "adapter", adapted / "export/adapter")
    assert any("--enable-tower-connector-lora" in note for note in manifest["notes"])


def test_averages_and_live_weights_of_a_generator(generator: Path, tmp_path: Path) -> None:
    assert export(generator, tmp_path / "ema")["weights"] == "ema"
    assert same(tmp_path / "ema/transformer", generator / "export/model/transformer")
    assert export(generator, tmp_path / "live", weights="live")["weights"] == "live"
    assert not same(tmp_path / "live/transformer", tmp_path / "ema/transformer")


def test_the_manifest_tells_every_file_and_tower(adapted: Path, tmp_path: Path) -> None:
    from tao_runtime.audit.manifest import differences, read_manifest

    run = json.loads((adapted / "run.json").read_text())
    assert {gate["gate"]: gate["ok"] for gate in run["gates"]}["export"]
    folder = Path(shutil.copytree(adapted / "export/model", tmp_path / "copy"))
    manifest = read_manifest(folder)
    assert {tower.name: (tower.state, tower.source) for tower in manifest.towers} == {
        "language_model": ("changed", "run"),
        "visual": ("changed", "run"),
    }
    assert differences(folder, manifest) == []
    (folder / "config.json").write_text("{}")
    (folder / "new.txt").touch()
    assert [each.partition(":")[0] for each in differences(folder, manifest)] == ["new.txt", "config.json"]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-64])


def rename(file: Path) -> None:
    """Give one tensor another name of the same length: the header stays valid."""
    data = file.read_bytes()
    assert b"layers.1.mlp.down_proj" in data
    file.write_bytes(data.replace(b"layers.1.mlp.down_proj", b"layers.1.mlp.town_proj", 1))


def flip(file: Path) -> None:
    """Change one bit of one number: no header shows it."""
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [(cut, "audit/file-truncated"), (rename, "audit/tensor-missing"), (flip, "export/reload")],
)
def test_a_planted_fault_gets_no_name(
    adapted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Path], None], rule: str
) -> None:
    from tao_runtime.engine.families import wet_family
    from tao_runtime.errors import FindingsError

    family = wet_family("cosmos_reason")
    layout = family.EXPORT

    def finish(base: Path, folder: Path, dtype: Any) -> None:
        layout.finish(base, folder, dtype)
        fault(folder / "model.safetensors")

    monkeypatch.setattr(type(family), "EXPORT", replace(layout, finish=finish))
    with pytest.raises(FindingsError) as caught:
        export(adapted, tmp_path / "out")
    assert rule in {finding.rule for finding in caught.value.findings}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"form": "full"}, "want merged or adapter"),
        ({"weights": "ema"}, "this run kept no averages"),
        ({"target": "diffusers"}, "want transformers or vllm"),
    ],
)
def test_what_a_run_cannot_give(adapted: Path, tmp_path: Path, wish: dict[str, str], said: str) -> None:
    options = [part for name, value in wish.items() for part in (f"--{name}", value)]
    done = tao("export", str(adapted), "--out", str(tmp_path / "out"), *options, cwd=tmp_path, want=1)
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_damaged_commit_and_another_base_are_both_named(adapted: Path, tmp_path: Path) -> None:
    from tao_runtime.errors import FindingsError

    run = Path(shutil.copytree(adapted, tmp_path / "run"))
    flip(next((run / "checkpoints/iter_000000004/model").glob("*.distcp")))
    plan = json.loads((run / "plan.json").read_text())
    plan["model"]["weights_sha256"] = "0" * 64
    (run / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(FindingsError) as caught:
        export(run, tmp_path / "out")
    assert [finding.rule for finding in caught.value.findings] == ["export/damage", "export/base"]


WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
from tao_runtime.engine.families.cosmos_reason import CosmosReason
from tao_runtime.engine.worker import main
layout = CosmosReason.EXPORT
def finish(base, folder, dtype):
    layout.finish(base, folder, dtype)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-64])
CosmosReason.EXPORT = replace(layout, finish=finish)
sys.exit(main("train", Path(sys.argv[1])))
"""


def test_a_training_whose_export_is_wrong_is_not_green(adapted: Path, tmp_path: Path) -> None:
    """All its steps are done and committed; what it writes at the end is cut short."""
    run = Path(shutil.copytree(adapted, tmp_path / "run"))
    (run / "run.json").unlink()
    shutil.rmtree(run / "export")
    environment = {**os.environ, **ENVIRONMENT}
    command = [sys.executable, "-c", WORKER, str(run)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "gate export: error[audit/file-truncated]" in done.stderr
    assert not (run / "run.json").exists()
    assert list((run / "export").iterdir()) == []
    assert [gate["ok"] for gate in events(run, "gate") if gate["gate"] == "export"] == [True, False]
