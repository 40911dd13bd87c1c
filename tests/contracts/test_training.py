"""Laws of training that hold for every split of the same work: ranks, micro-batches, interruptions, world sizes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from runs import COMMAND, ENVIRONMENT, losses, tao, tensors, write_train_spec

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def unbroken(demo_material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run: one process, 8 steps of 8 samples, a commit every 3 steps."""
    folder = tmp_path_factory.mktemp("unbroken")
    spec = write_train_spec(folder / "train.yaml", demo_material, folder / "run")
    tao("train", "--spec", str(spec), cwd=folder)
    return folder / "run"


MICRO, PER_RANK = "train__train_policy__mini_batch", "train__train_batch_per_replica"
SHARDS, CONTEXT = "policy__parallelism__dp_shard_size", "policy__parallelism__cp_size"
TOKENS = "train__train_policy__load_balanced_max_tokens_for_batch"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({MICRO: 2}, id="accumulate"),
        pytest.param({SHARDS: 2, PER_RANK: 4, MICRO: 4}, id="two-ranks", marks=pytest.mark.slow),
        pytest.param({SHARDS: 2, PER_RANK: 4, MICRO: 1}, id="two-ranks-accumulate"),
        pytest.param({SHARDS: 2, PER_RANK: 4, TOKENS: 300}, id="two-ranks-packed-by-tokens", marks=pytest.mark.slow),
        pytest.param({CONTEXT: 2, MICRO: 4}, id="context-parallel"),
        pytest.param({SHARDS: 2, CONTEXT: 2, PER_RANK: 4, MICRO: 4}, id="shards-and-context", marks=pytest.mark.slow),
        # Two key-value heads over four ranks: they are repeated.
        pytest.param({CONTEXT: 4, MICRO: 2}, id="context-over-heads", marks=pytest.mark.slow),
        pytest.param({"policy__model_gradient_checkpointing": "selective"}, id="recompute-selective"),
        pytest.param({"policy__model_gradient_checkpointing": True}, id="recompute-full"),
        pytest.param({"train__compile": True}, id="compiled", marks=pytest.mark.slow),
    ],
)
def test_the_split_does_not_matter(
    unbroken: Path, demo_material: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run", **changes)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    for name in ("train/loss", "val/avg_loss"):
        assert losses(tmp_path / "run", name) == pytest.approx(losses(unbroken, name), abs=1e-5)
    ours, theirs = tensors(tmp_path / "run/export/model"), tensors(unbroken / "export/model")
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-4


def test_replicas_of_shards(unbroken: Path, demo_material: Path, tmp_path: Path) -> None:
    """HSDP: two replicas of one shard train as one process does."""
    changes = {
        "policy__parallelism__dp_shard_size": 1,
        "policy__parallelism__dp_replicate_size": 2,
        "train__train_batch_per_replica": 4,
        "train__train_policy__mini_batch": 4,
    }
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run", **changes)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    assert losses(tmp_path / "run") == pytest.approx(losses(unbroken), abs=1e-5)


def test_killed_and_run_again_ends_bit_equal(unbroken: Path, demo_material: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run")
    kill_after_first_commit(spec, tmp_path)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    ours, theirs = tensors(tmp_path / "run/export/model"), tensors(unbroken / "export/model")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert losses(tmp_path / "run")[-1] == losses(unbroken)[-1]
    assert '"how": "resume"' in (tmp_path / "run/status.jsonl").read_text()


def commits(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("checkpoints/iter_*/COMMIT"))


def kill_after_first_commit(spec: Path, folder: Path) -> None:
    """Start a training and kill it, and all its processes, as soon as one more commit is there."""
    environment = {**os.environ, **ENVIRONMENT}
    command = [*COMMAND, "train", "--spec", str(spec)]
    with subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    ) as run:
        before, deadline = commits(folder / "run"), time.monotonic() + 120
        while commits(folder / "run") == before:
            assert time.monotonic() < deadline and run.poll() is None, "the run ended before its first commit"
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGKILL)
    assert not (folder / "run/run.json").exists()


@pytest.mark.slow  # the next one goes there and back
def test_resumes_on_another_world_size(unbroken: Path, demo_material: Path, tmp_path: Path) -> None:
    """Five steps on two processes, the rest on one: within rounding of the run on one."""
    spec = write_train_spec(
        tmp_path / "two.yaml",
        demo_material,
        tmp_path / "run",
        policy__parallelism__dp_shard_size=2,
        train__train_batch_per_replica=4,
        train__train_policy__mini_batch=4,
    )
    kill_after_first_commit(spec, tmp_path)
    spec = write_train_spec(tmp_path / "one.yaml", demo_material, tmp_path / "run")
    tao("train", "--spec", str(spec), cwd=tmp_path)
    assert losses(tmp_path / "run")[-1] == pytest.approx(losses(unbroken)[-1], abs=1e-5)


def test_goes_on_from_one_process_to_two_and_back_to_one(unbroken: Path, demo_material: Path, tmp_path: Path) -> None:
    one = write_train_spec(tmp_path / "one.yaml", demo_material, tmp_path / "run")
    changes = {SHARDS: 2, PER_RANK: 4, MICRO: 4}
    two = write_train_spec(tmp_path / "two.yaml", demo_material, tmp_path / "run", **changes)
    kill_after_first_commit(one, tmp_path)
    kill_after_first_commit(two, tmp_path)
    tao("train", "--spec", str(one), cwd=tmp_path)
    sizes = [json.loads(path.read_text())["world_size"] for path in sorted(tmp_path.glob("run/checkpoints/*/COMMIT"))]
    assert sizes == [1, 2, 1]
    assert losses(tmp_path / "run")[-1] == pytest.approx(losses(unbroken)[-1], abs=1e-5)


def test_more_epochs_on_resume_do_more_steps(demo_material: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run", train__epoch=1)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run", train__epoch=2)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    assert len(losses(tmp_path / "run")) == 8
    records = [json.loads((tmp_path / "run" / name).read_text()) for name in ("run-000000004.json", "run.json")]
    assert [(record["steps"], record["resumed_from"]) for record in records] == [(4, None), (8, 4)]


def test_a_complete_run_is_not_written_over(unbroken: Path, demo_material: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, unbroken)
    before = sorted(path.stat().st_mtime_ns for path in unbroken.rglob("*"))
    done = tao("train", "--spec", str(spec), cwd=tmp_path, want=1)
    assert "holds a complete run" in done.stderr
    assert sorted(path.stat().st_mtime_ns for path in unbroken.rglob("*")) == before


def test_a_commit_of_another_run_is_refused(demo_material: Path, tmp_path: Path) -> None:
    spec = write_train_spec(tmp_path / "train.yaml", demo_material, tmp_path / "run", train__max_num_steps=3)
    tao("train", "--spec", str(spec), cwd=tmp_path)
    (tmp_path / "run/run.json").unlink()
    done = tao("train", "--spec", str(spec), "train.train_policy.dataloader_seed=7", cwd=tmp_path, want=1)
    assert "saved with another model, data, global batch, optimizer or seed" in done.stderr
    done = tao("train", "--spec", str(spec), "train.resume=false", cwd=tmp_path, want=1)
    assert "train.resume=true" in done.stderr


def test_export_is_what_was_trained(unbroken: Path, demo_material: Path) -> None:
    """The library loads the export, and its loss on the validation set is the run's own."""
    from transformers import AutoModelForImageTextToText

    model, info = AutoModelForImageTextToText.from_pretrained(unbroken / "export/model", output_loading_info=True)
    assert not any(info.values()), info
    assert model.dtype == torch.float32
    before, after = tensors(demo_material / "model"), model.state_dict()
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert len(moved) == len(before)


def test_a_missing_base_tensor_stops_the_run(demo_material: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import save_file

    shutil.copytree(demo_material / "model", tmp_path / "model")
    values = tensors(tmp_path / "model")
    lost = next(name for name in values if "language_model.layers.1" in name)
    del values[lost]
    save_file(values, tmp_path / "model/model.safetensors", metadata={"format": "pt"})
    spec = write_train_spec(
        tmp_path / "train.yaml", demo_material, tmp_path / "run", policy__model_name_or_path=str(tmp_path / "model")
    )
    done = tao("train", "--spec", str(spec), cwd=tmp_path, want=3)
    assert f"{lost}: not in the snapshot" in done.stderr
    assert not (tmp_path / "run/run.json").exists()
