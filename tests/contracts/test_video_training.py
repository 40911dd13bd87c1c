"""Laws of training a video generator: for every split of the same work, for interruptions, and of what is exported."""

from __future__ import annotations

import importlib
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from video_runs import make_material, run_dir, write_video_spec

from runs import events, losses, tao, tensors, training, wait_until

torch = pytest.importorskip("torch")

FAMILIES = ["cosmos_predict2", "cosmos_predict1"]
GATES = {
    *("base-weights", "trainable", "supervised-tokens", "first-loss", "conditioning"),
    *("gradient", "frozen", "moved", "finite-steps"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def material(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_material(family, tmp_path_factory.mktemp(family))


def train(material: Path, folder: Path, **changes: object) -> Path:
    tao("train", "--spec", str(write_video_spec(material, folder, **changes)), cwd=folder)
    return run_dir(folder)


def network(run: Path) -> dict[str, torch.Tensor]:
    return tensors(run / "export/model/transformer")


@pytest.fixture(scope="module")
def unbroken(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run: one process, 6 steps of 8 clips, a commit every 2 steps."""
    return train(material, tmp_path_factory.mktemp("unbroken"))


SHARDS, MICRO = "model__parallelism__data_parallel_shard_degree", "dataloader_train__batch_size"
RECOMPUTE = "model__activation_checkpointing__mode"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({MICRO: 2, "trainer__grad_accum_iter": 4}, id="accumulate"),
        pytest.param({SHARDS: 2, MICRO: 4}, id="two-ranks"),
        pytest.param({RECOMPUTE: "full"}, id="recompute-full"),
        pytest.param({RECOMPUTE: "selective"}, id="recompute-selective", marks=pytest.mark.slow),
    ],
)
def test_the_split_does_not_matter(unbroken: Path, material: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    run = train(material, tmp_path, **changes)
    assert losses(run) == pytest.approx(losses(unbroken), abs=1e-5)
    ours, theirs = network(run), network(unbroken)
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-4


def test_killed_and_run_again_ends_bit_equal(unbroken: Path, material: Path, tmp_path: Path) -> None:
    spec = write_video_spec(material, tmp_path)
    with training(spec) as run:
        wait_until(run, lambda: list((run_dir(tmp_path) / "checkpoints").glob("iter_*/COMMIT")))
        os.killpg(run.pid, signal.SIGKILL)
    assert not (run_dir(tmp_path) / "run.json").exists()
    tao("train", "--spec", str(spec), cwd=tmp_path)
    assert events(run_dir(tmp_path), "start")[-1]["how"] == "resume"
    ours, theirs = network(run_dir(tmp_path)), network(unbroken)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert losses(run_dir(tmp_path))[-1] == losses(unbroken)[-1]


def test_every_gate_passed(unbroken: Path) -> None:
    gates = json.loads((unbroken / "run.json").read_text())["gates"]
    assert {gate["gate"] for gate in gates} == GATES
    assert all(gate["ok"] for gate in gates)


def test_the_library_loads_the_export_and_generates(family: str, unbroken: Path, material: Path) -> None:
    from tao_runtime.engine.clip_request import ClipRequest
    from tao_runtime.engine.demo.captioned_clips import MOTIONS, draw_set

    demo = importlib.import_module(f"tao_runtime.engine.demo.{family}").demo()
    pipeline = demo.load(unbroken / "export/model")
    given = draw_set(1, 2)[0][0][:1] if demo.gives_frame else None
    asked = {"steps": 2, "guidance": 2.0, "text_length": demo.text_length, "given_THWC": given}
    clip = demo.generate(pipeline, ClipRequest(MOTIONS[0].caption, 64, 64, 17, 16.0, **asked))
    assert clip.shape == (17, 64, 64, 3)
    assert clip.dtype == np.uint8
    exported, base = pipeline.transformer.state_dict(), tensors(material / "base/transformer")
    assert exported.keys() == base.keys()
    assert all(not torch.equal(exported[name], base[name]) for name in base)


def test_the_export_has_the_averages_where_they_are_kept(unbroken: Path, material: Path, tmp_path: Path) -> None:
    live = train(material, tmp_path, model__ema__enabled=False)
    assert losses(live) == losses(unbroken)  # averaging trains nothing
    ours, averaged = network(live), network(unbroken)
    assert any(not torch.equal(ours[name], averaged[name]) for name in ours)


def test_captions_are_encoded_once_and_latents_kept(unbroken: Path) -> None:
    assert len(list((unbroken / "text_states").glob("*.safetensors"))) == 16  # motions
    assert 24 <= len(list((unbroken / "latents").glob("*/*.safetensors"))) <= 26  # clips: two epochs of 24 of 26
    last = json.loads((unbroken / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["cache/hit_share"] > 0.4  # the second epoch


def test_other_actions_are_refused_by_name(family: str, tmp_path: Path) -> None:
    from tao_runtime.cli.run import need_engine
    from tao_runtime.errors import FindingsError

    for action in ("evaluate", "inference"):
        with pytest.raises(FindingsError, match=f"{action} of {family} does not exist yet"):
            need_engine(family, action)
