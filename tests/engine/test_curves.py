"""The loss curves of runs: what is read of metrics.jsonl, and that a picture comes of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from PIL import Image

from runs import losses, tao, training, wait_until, write_train_spec
from tao_runtime.engine.curves import CURVE, LOSS, NORM, VALIDATION, draw_run, name_runs, read_curves, smoothed
from tao_runtime.errors import InputError

pytest.importorskip("matplotlib")


def a_run(folder: Path, *, steps: int = 12, start: float = 2.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in range(1, steps + 1):
        lines.append({"step": step, LOSS: start / step, "optimizer/lr": 1e-4, NORM: 1.0 + step % 3})
        lines += [{"step": step, VALIDATION: start / step + 0.1}] if step % 4 == 0 else []
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder


def test_a_step_that_was_trained_again_counts_once(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(
            '{"step": 11, "train/loss": 9.0}\n{"step": 12, "train/loss": null, "optimizer/grad_norm": 5.0}\n{"st'
        )
    curves = read_curves(run)
    assert list(curves[LOSS]) == list(range(1, 13))
    assert (curves[LOSS][11], curves[LOSS][12], curves[NORM][12]) == (9.0, 2.0 / 12, 5.0)
    assert curves[VALIDATION] == pytest.approx({4: 0.6, 8: 0.35, 12: 2 / 12 + 0.1})


def test_the_running_mean_starts_unbiased_and_ends_near_the_last_values() -> None:
    assert smoothed([3.0]) == [3.0]
    assert smoothed([2.0] * 500) == pytest.approx([2.0] * 500)
    step = smoothed([0.0] * 250 + [1.0] * 250)
    assert step[249] == 0.0 and step[-1] == pytest.approx(1.0, abs=1e-3) and step == sorted(step)


@pytest.mark.parametrize(("steps", "drawn"), [(12, True), (6, False)])
def test_a_run_is_drawn_and_a_few_steps_are_not(tmp_path: Path, steps: int, drawn: bool) -> None:
    run = a_run(tmp_path / "run", steps=steps)
    assert draw_run(run) is None
    assert (run / CURVE).is_file() is drawn
    if drawn:
        with Image.open(run / CURVE) as picture:
            assert picture.width > 800 and len(picture.convert("RGB").getcolors(1 << 24)) > 100


def test_runs_are_compared_by_hand(tmp_path: Path) -> None:
    runs = [str(a_run(tmp_path / name / "train", start=start)) for name, start in (("one", 2.0), ("two", 3.0))]
    tao("curve", *runs, "--out", "both.png", cwd=tmp_path)
    with Image.open(tmp_path / "both.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert {(31, 111, 235), (209, 73, 91)} <= colours  # each run has its colour
    assert list(name_runs([Path(run) for run in runs])) == ["one/train", "two/train"]


def test_a_folder_without_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metrics.jsonl: no train/loss in it"):
        read_curves(tmp_path)
    assert draw_run(tmp_path) is None  # as a run that ended before its first step
    assert "no train/loss" in tao("curve", str(tmp_path), cwd=tmp_path, want=2).stderr


@pytest.mark.slow
def test_a_run_that_is_stopped_has_its_picture(demo_material: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run", train__epoch=200)
    with training(spec) as run:
        wait_until(run, lambda: (tmp_path / "run/metrics.jsonl").is_file() and len(losses(tmp_path / "run")) > 12)
        os.kill(run.pid, signal.SIGTERM)
        assert run.wait(120) == 4
    assert (tmp_path / "run" / CURVE).is_file()
