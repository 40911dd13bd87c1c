"""Laws of judging a video generator: each clip once, the same on any number of processes, tuned beside its base."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from video_runs import make_material, run_dir, write_evaluate_spec, write_video_spec

from runs import tao

torch = pytest.importorskip("torch")

FAMILIES = ["cosmos_predict2", "cosmos_predict1", "cosmos3_vision"]
CLIPS = 5


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def material(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_material(family, tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def trained(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 2 steps whose averages are far from its weights."""
    folder = tmp_path_factory.mktemp("trained")
    changes = {"trainer__max_iter": 2, "optimizer__lr": 0.01, "scheduler__warm_up_steps": [0]}
    tao("train", "--spec", str(write_video_spec(material, folder, **changes)), cwd=folder)
    return run_dir(folder)


def evaluate(family: str, material: Path, out: Path, *, nproc: int = 1, **changes: Any) -> dict[str, Any]:
    """Run the command; returns video_results.json. Videos of the Predict families need a checker: none are made."""
    made = {} if family == "cosmos3_vision" else {"evaluate__num_videos": 0}
    spec = write_evaluate_spec(family, material, out, **{"evaluate__limit": CLIPS, **made, **changes})
    tao("evaluate", "--spec", str(spec), "--nproc", str(nproc), cwd=out)
    found: dict[str, Any] = json.loads((out / "p/g/judged/video_results.json").read_text())
    return found


@pytest.fixture(scope="module")
def judged(family: str, material: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The export judged beside the base, on one process."""
    folder = tmp_path_factory.mktemp("judged")
    changes = {"model__path": str(trained / "export/model"), "model__baseline_path": str(material / "base")}
    return {"folder": folder / "p/g/judged", **evaluate(family, material, folder, **changes)}


def test_every_clip_has_one_result_and_the_counts_add_up(judged: dict[str, Any]) -> None:
    counts = judged["counts"]
    assert [clip["record"] for clip in judged["clips"]] == list(range(CLIPS))
    assert all(len(clip["losses"]["tuned"]) == 3 for clip in judged["clips"])
    assert counts == {"records": 26, "judged": CLIPS, "unreadable": 0, "without_sample": 0, "not_asked": 26 - CLIPS}
    schema = Path(__file__).parents[2] / "schemas/video-results.schema.json"
    import jsonschema

    jsonschema.validate(json.loads((judged["folder"] / "video_results.json").read_text()), json.loads(schema.read_text()))


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


def test_two_processes_measure_the_same(
    family: str, judged: dict[str, Any], material: Path, trained: Path, tmp_path: Path
) -> None:
    changes = {"model__path": str(trained / "export/model"), "model__baseline_path": str(material / "base")}
    two = evaluate(family, material, tmp_path, nproc=2, **changes)
    one = {name: value for name, value in judged.items() if name in two and name != "spec_sha256"}
    assert {name: two[name] for name in one} == one


def test_averaged_and_live_weights_of_a_commit(
    family: str, judged: dict[str, Any], material: Path, trained: Path, tmp_path: Path
) -> None:
    """The averages are what the export has; the base stands beside without being named."""
    commit, found = trained / "checkpoints/iter_000000002", {}
    for weights in ("averaged", "live"):
        (tmp_path / weights).mkdir()
        changes = {"model__commit": str(commit), "model__weights": weights, "evaluate__num_videos": 0}
        found[weights] = evaluate(family, material, tmp_path / weights, **changes)
    for clip, exported in zip(found["averaged"]["clips"], judged["clips"], strict=True):
        assert clip["losses"]["tuned"] == pytest.approx(exported["losses"]["tuned"], rel=1e-5)
        assert clip["losses"]["baseline"] == exported["losses"]["baseline"]
    assert found["live"]["loss"]["tuned"]["value"] != pytest.approx(judged["loss"]["tuned"]["value"], rel=1e-5)
    (tmp_path / "none").mkdir()
    spec = write_evaluate_spec(family, material, tmp_path / "none", model__commit=str(trained))
    assert "no COMMIT" in tao("evaluate", "--spec", str(spec), cwd=tmp_path, want=1).stderr


def test_a_clip_that_does_not_decode_is_counted(family: str, material: Path, tmp_path: Path) -> None:
    """Its header opens, its frames do not: it has a reason in the place of losses, and the others have theirs."""
    import shutil

    copy = tmp_path / "material"
    shutil.copytree(material, copy)
    broken = sorted((copy / "clips/videos").iterdir())[2]
    content = bytearray(broken.read_bytes())
    start = content.index(b"mdat") + 4
    end = content.index(b"moov", start) - 4 if b"moov" in content[start:] else len(content)
    content[start:end] = bytes(end - start)
    broken.write_bytes(content)
    found = evaluate(family, copy, tmp_path, evaluate__num_videos=0)
    assert found["counts"]["unreadable"] == 1 and found["counts"]["judged"] == CLIPS - 1
    assert found["clips"][2]["losses"] == {} and broken.name in found["clips"][2]["error"]
    assert all(clip["losses"] for clip in found["clips"] if clip["record"] != 2)


def test_videos_are_made_and_shown(family: str, material: Path, tmp_path: Path) -> None:
    """In this process, as the safety checker of the Predict families is handed over."""
    from tao_runtime.engine.clip_launch import held_out_ledgers
    from tao_runtime.engine.demo.guardrail import NoGuardrail
    from tao_runtime.engine.evaluate_clips import evaluate_clips
    from tao_runtime.engine.run_dir import LEDGER
    from tao_runtime.preflight.prepare import prepare

    spec = write_evaluate_spec(family, material, tmp_path, evaluate__limit=2, evaluate__num_videos=2)
    prepared = prepare(spec, action="evaluate", nproc=1)
    assert prepared.report.ok, prepared.report.findings
    plan: Any = prepared.plan
    held_out_ledgers(plan, prepared.facts)["eval"].save(tmp_path / LEDGER.format(label="eval"))
    alone: Any = SimpleNamespace(rank=0, is_main=True, size=1, barrier=lambda: None, device=torch.device("cpu"))
    checker = {} if family == "cosmos3_vision" else {"safety_checker": NoGuardrail()}
    evaluate_clips(plan, tmp_path, alone, components=checker)
    found = json.loads((tmp_path / "video_results.json").read_text())
    assert all((tmp_path / clip["made"]["tuned"]["video"]).stat().st_size > 500 for clip in found["clips"])
    assert [clip["made"]["tuned"]["seed"] for clip in found["clips"]] == [0, 1]
    given = [clip["made"]["tuned"]["given"] for clip in found["clips"]]
    assert [each is not None for each in given] == [clip["given_frames"] > 0 for clip in found["clips"]]
    if family == "cosmos_predict2":
        assert all(each["psnr"] > 20 for each in given)  # what the linear tokenizer loses
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 * 2 and "http" not in page.replace("http-equiv", "")
    assert found["clips"][0]["caption"].rstrip(".") in page
    from PIL import Image

    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > 6 * 60


def test_a_missing_checker_is_told_before_anything_is_measured(family: str, material: Path, tmp_path: Path) -> None:
    if family == "cosmos3_vision":
        pytest.skip("its tiny pipeline says that it has none")
    spec = write_evaluate_spec(family, material, tmp_path, evaluate__num_reconstructions=0, evaluate__num_videos=1)
    assert "cosmos_guardrail, is not installed" in tao("evaluate", "--spec", str(spec), cwd=tmp_path, want=3).stderr
