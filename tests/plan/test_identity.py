"""The identity of a run changes with what its checkpoints mean, and with nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from factory import make_snapshot
from project import Project
from tao_runtime.plan.identity import resume_identity

MEANING = (
    ["train.seed=1"],
    ["train.train_policy.dataloader_seed=1"],
    ["train.train_policy.dataloader_shuffle=false"],
    ["train.train_policy.dataloader_drop_last=false"],
    ["train.train_batch_per_replica=4"],
    ["train.optm_name=Adam"],
    ["train.master_dtype=bfloat16"],
    ["custom.vision.nframes=4"],
    ["custom.vision.fps=2"],
    ["custom.system_prompt=Be brief."],
    ["custom.train_dataset.response_mode=think"],
    ["policy.lora={r: 4}"],
    ["policy.freeze_pattern=[visual]"],
    ["policy.model_max_length=9000"],
)
NO_MEANING = (
    ["train.epoch=11"],
    ["train.optm_lr=1e-4"],
    ["train.optm_decay_type=cosine"],
    ["train.output_dir=elsewhere"],
    ["results_dir=elsewhere"],
    ["logging.log_interval=7"],
    ["logging.experiment_name=other"],
    ["train.train_policy.mini_batch=2"],
    ["train.train_policy.dataloader_num_workers=1"],
    ["train.ckpt.save_freq=3"],
    ["validation.enable=false"],
    ["train.train_batch_per_replica=4", "policy.parallelism.dp_shard_size=2"],
    ["train.train_batch_per_replica=4", "policy.parallelism.dp_replicate_size=2"],
)


@pytest.mark.parametrize("overrides", MEANING, ids=" ".join)
def test_changes_with_the_meaning(project: Project, overrides: list[str]) -> None:
    assert resume_identity(project.plan(*overrides)) != resume_identity(project.plan())


@pytest.mark.parametrize("overrides", NO_MEANING, ids=" ".join)
def test_stays_otherwise(project: Project, overrides: list[str]) -> None:
    assert resume_identity(project.plan(*overrides)) == resume_identity(project.plan())


def test_changes_with_the_model_and_the_data(project: Project, tmp_path: Path) -> None:
    base = resume_identity(project.plan())
    moved_base = make_snapshot(tmp_path / "other")
    model = f"policy.model_name_or_path={moved_base}"
    assert resume_identity(project.plan(model)) == base, "the same weights in another place"
    with (moved_base / "model.safetensors").open("r+b") as file:
        file.seek(-100, 2)
        file.write(b"other")
    assert resume_identity(project.plan(model)) != base, "other weights where they were"
    root = tmp_path / "data"
    shutil.copytree(project.train, root)
    moved = [f"custom.train_dataset.annotation_path={root}"]
    assert resume_identity(project.plan(*moved)) == base, "the same bytes in another place"
    text = (root / "annotations.json").read_text()
    (root / "annotations.json").write_text(text.replace("right", "left", 1))
    assert resume_identity(project.plan(*moved)) != base


def test_is_the_same_on_any_world_size(project: Project) -> None:
    plans = [project.plan("policy.parallelism.dp_shard_size=-1", f"train.train_batch_per_replica={8 // world}",
                          "train.train_policy.mini_batch=1", nproc=world) for world in (1, 2, 4)]  # fmt: skip
    assert [plan.mesh.world for plan in plans] == [1, 2, 4]
    assert len({resume_identity(plan) for plan in plans}) == 1
