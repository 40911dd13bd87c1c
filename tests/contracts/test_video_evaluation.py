"""Laws of judging a video generator: each clip once, the same on any number of processes, tuned beside its base."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from video_runs import make_material, run_dir, write_evaluate_spec, write_video_spec

from runs import tao

torch = pytest.importorskip("torch")

from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file

from tao_runtime.engine.clip_launch import held_out_ledgers
from tao_runtime.engine.demo.guardrail import NoGuardrail
from tao_runtime.engine.evaluate_clips import evaluate_clips
from tao_runtime.engine.generate import load_tuned, pipeline_module
from tao_runtime.engine.run_dir import LEDGER
from tao_runtime.engine.video_file import write_video
from tao_runtime.errors import FindingsError, RunError
from tao_runtime.preflight.prepare import prepare

FAMILIES = ["cosmos_predict2", "cosmos_predict1", "cosmos3_vision"]
CLIPS = 5
ALONE: Any = SimpleNamespace(rank=0, is_main=True, size=1, barrier=lambda: None, device=torch.device("cpu"))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def material(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's clips and base, and beside it tuned/: the base with other weights."""
    folder = make_material(family, tmp_path_factory.mktemp(family))
    shutil.copytree(folder / "base", folder / "tuned")
    [weights] = (folder / "tuned/transformer").glob("*.safetensors")
    save_file(disturbed(load_file(weights), 0.1), weights)
    return folder


def disturbed(weights: dict[str, torch.Tensor], by: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: value + by * value.std() * torch.randn(value.shape, generator=generator)
            if value.numel() > 1 else value for name, value in sorted(weights.items())}  # fmt: skip


def judge_here(family: str, material: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Judge in this process, as the safety checker of the Predict families is handed over; returns the results."""
    spec = write_evaluate_spec(family, material, out, **{"evaluate__limit": CLIPS, **changes})
    prepared = prepare(spec, action="evaluate", nproc=1)
    assert prepared.report.ok, prepared.report.findings
    plan: Any = prepared.plan
    held_out_ledgers(plan, prepared.facts)["eval"].save(out / LEDGER.format(label="eval"))
    checker = {} if family == "cosmos3_vision" else {"safety_checker": NoGuardrail()}
    evaluate_clips(plan, out, ALONE, components=checker)
    found: dict[str, Any] = json.loads((out / "video_results.json").read_text())
    return found


@pytest.fixture(scope="module")
def judged(family: str, material: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Tuned weights judged beside the base, with two videos of each."""
    folder = tmp_path_factory.mktemp("judged")
    changes = {"model__path": str(material / "tuned"), "model__baseline_path": str(material / "base")}
    return {"folder": folder, **judge_here(family, material, folder, **changes)}


def test_every_clip_has_one_result_and_the_counts_add_up(judged: dict[str, Any]) -> None:
    counts = judged["counts"]
    assert [clip["record"] for clip in judged["clips"]] == list(range(CLIPS))
    assert all(len(clip["losses"]["tuned"]) == 3 for clip in judged["clips"])
    assert counts == {"records": 26, "judged": CLIPS, "unreadable": 0, "without_sample": 0, "not_asked": 26 - CLIPS}
    schema = Path(__file__).parents[2] / "schemas/video-results.schema.json"
    jsonschema.validate(
        json.loads((judged["folder"] / "video_results.json").read_text()), json.loads(schema.read_text())
    )


def test_figures_are_those_of_the_clips(judged: dict[str, Any]) -> None:
    means = [sum(clip["losses"]["tuned"]) / 3 for clip in judged["clips"]]
    loss = judged["loss"]
    assert loss["tuned"]["value"] == pytest.approx(sum(means) / CLIPS)
    assert loss["difference"]["value"] == pytest.approx(loss["tuned"]["value"] - loss["baseline"]["value"])
    assert loss["difference"]["value"] != 0
    paired = loss["difference"]["high"] - loss["difference"]["low"]
    assert 0 < paired < loss["tuned"]["high"] - loss["tuned"]["low"]  # the same clips and noise: less is left to chance
    assert judged["reconstruction"]["psnr"]["n"] == 3 and judged["reconstruction"]["psnr"]["value"] > 20
    run = json.loads((judged["folder"] / "run.json").read_text())
    assert run["metrics"]["eval/loss"] == loss["tuned"]["value"]
    assert all(gate["ok"] for gate in run["gates"])


def by_command(family: str, material: Path, out: Path, *, nproc: int, **changes: Any) -> dict[str, Any]:
    """Run the command; videos of the Predict families need a checker: none are made."""
    made = {} if family == "cosmos3_vision" else {"evaluate__num_videos": 0}
    spec = write_evaluate_spec(family, material, out, **{"evaluate__limit": CLIPS, **made, **changes})
    said = tao("evaluate", "--spec", str(spec), "--nproc", str(nproc), cwd=out).stdout
    assert "of 26 clips judged" in said and "loss" in said
    found: dict[str, Any] = json.loads((out / "p/g/judged/video_results.json").read_text())
    return found


@pytest.mark.slow
def test_two_processes_measure_the_same(family: str, judged: dict[str, Any], material: Path, tmp_path: Path) -> None:
    changes = {"model__path": str(material / "tuned"), "model__baseline_path": str(material / "base")}
    two = by_command(family, material, tmp_path, nproc=2, **changes)
    for one, other in zip(judged["clips"], two["clips"], strict=True):
        assert other["made"] == (one["made"] if family == "cosmos3_vision" else {})
        assert {**other, "made": {}} == {**one, "made": {}}
    assert two["loss"] == judged["loss"] and two["by_level"] == judged["by_level"]


@pytest.mark.slow
def test_averaged_and_live_weights_of_a_commit(family: str, material: Path, tmp_path: Path) -> None:
    """The averages are what the export has; the base stands beside without being named."""
    changes = {"trainer__max_iter": 2, "optimizer__lr": 0.01, "scheduler__warm_up_steps": [0]}
    tao("train", "--spec", str(write_video_spec(material, tmp_path, **changes)), cwd=tmp_path)
    run, found = run_dir(tmp_path), {}
    commit = {"model__commit": str(run / "checkpoints/iter_000000002"), "evaluate__num_videos": 1}
    for name, asked in {
        "export": {"model__path": str(run / "export/model"), "model__baseline_path": str(material / "base")},
        "averaged": commit,
        "live": {**commit, "model__weights": "live"},
    }.items():
        (tmp_path / name).mkdir()
        found[name] = judge_here(family, material, tmp_path / name, **asked)
    for clip, exported in zip(found["averaged"]["clips"], found["export"]["clips"], strict=True):
        assert clip["losses"]["tuned"] == pytest.approx(exported["losses"]["tuned"], rel=1e-5)
        assert clip["losses"]["baseline"] == exported["losses"]["baseline"]
    live, averaged = (found[name]["loss"]["tuned"]["value"] for name in ("live", "averaged"))
    assert live != pytest.approx(averaged, rel=1e-5)


def test_a_folder_that_is_no_commit_is_refused(family: str, material: Path, tmp_path: Path) -> None:
    prepared = prepare(
        write_evaluate_spec(family, material, tmp_path, model__commit=str(tmp_path)), action="evaluate", nproc=1
    )
    plan: Any = prepared.plan
    with pytest.raises(FindingsError, match="no COMMIT"):
        held_out_ledgers(plan, prepared.facts)


def test_what_is_not_judged_is_counted(family: str, material: Path, tmp_path: Path) -> None:
    """One clip is too short for a sample; of another the header opens and the frames do not. The others are judged."""
    copy = tmp_path / "material"
    shutil.copytree(material, copy)
    files = sorted((copy / "clips/videos").iterdir())
    write_video(files[0], np.zeros((3, 64, 64, 3), np.uint8), fps=16)
    content = bytearray(files[2].read_bytes())
    start = content.index(b"mdat") + 4
    end = content.index(b"moov", start) - 4 if b"moov" in content[start:] else len(content)
    content[start:end] = bytes(end - start)
    files[2].write_bytes(content)
    found = judge_here(family, copy, tmp_path, evaluate__num_videos=0)
    counts = found["counts"]
    assert counts == {"records": 26, "judged": CLIPS - 1, "unreadable": 1, "without_sample": 1, "not_asked": 25 - CLIPS}
    assert found["dropped"] == {"too-short": 1}
    assert [clip["record"] for clip in found["clips"]] == [1, 2, 3, 4, 5]
    assert found["clips"][1]["losses"] == {} and files[2].name in found["clips"][1]["error"]
    assert all(clip["losses"] for clip in found["clips"] if clip["record"] != 2)
    assert found["loss"]["tuned"]["n"] == CLIPS - 1


def test_an_adapter_is_judged_as_its_merged_model(family: str, material: Path, tmp_path: Path) -> None:
    """And beside its base, without being told to."""
    demo = importlib.import_module(f"tao_runtime.engine.demo.{family}").demo()
    network = demo.load(material / "base").transformer
    layers = "add_q_proj" if family == "cosmos3_vision" else "attn1.to_q"
    adapted = get_peft_model(network, LoraConfig(r=2, target_modules=[layers], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    shutil.copytree(material / "base", tmp_path / "merged")
    merged = adapted.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged/transformer")
    found = {}
    for name, model in {
        "adapter": {"model__path": str(tmp_path / "adapter"), "model__base_path": str(material / "base")},
        "merged": {"model__path": str(tmp_path / "merged"), "model__baseline_path": str(material / "base")},
    }.items():
        (tmp_path / name).mkdir(exist_ok=True)
        asked = {"evaluate__limit": 2, "evaluate__num_videos": 1, "evaluate__num_reconstructions": 0}
        found[name] = judge_here(family, material, tmp_path / name, **asked, **model)
    for one, other in zip(found["adapter"]["clips"], found["merged"]["clips"], strict=True):
        assert one["losses"]["tuned"] == pytest.approx(other["losses"]["tuned"], rel=1e-5)
        assert one["losses"]["baseline"] == other["losses"]["baseline"] != one["losses"]["tuned"]
    strips = [(tmp_path / name / "strips/000000-tuned.png").read_bytes() for name in found]
    base = (tmp_path / "adapter/strips/000000-baseline.png").read_bytes()
    assert strips[0] == strips[1] != base


def test_videos_are_made_and_shown(family: str, judged: dict[str, Any]) -> None:
    folder, made = judged["folder"], [clip for clip in judged["clips"] if clip["made"]]
    assert [clip["record"] for clip in made] == [0, 2]  # spread over those that are judged
    assert all((folder / each["video"]).stat().st_size > 500 for clip in made for each in clip["made"].values())
    assert [clip["made"]["tuned"]["seed"] for clip in made] == [0, 2]
    for who in ("tuned", "baseline"):
        given = [clip["made"][who]["given"] for clip in made]
        assert [each is not None for each in given] == [clip["given_frames"] > 0 for clip in made]
        if family == "cosmos_predict2":
            assert all(each["psnr"] > 15 for each in given)  # what the linear tokenizer loses
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 2 * 3 and "http" not in page
    assert all(clip["caption"] in page for clip in made)
    with Image.open(folder / "grid.png") as grid:
        assert grid.width > 6 * 64


def test_a_missing_checker_is_told(family: str, material: Path, tmp_path: Path) -> None:
    if family == "cosmos3_vision":
        pytest.skip("its tiny pipeline says that it has none")
    plan: Any = prepare(write_evaluate_spec(family, material, tmp_path), action="evaluate", nproc=1).plan
    with pytest.raises(RunError, match="cosmos_guardrail, is not installed"):
        load_tuned(pipeline_module(family), plan.model, plan.sampler)
