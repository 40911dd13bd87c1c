"""The arithmetic of a training plan, on 40 real records over 4 clips, against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory import make_snapshot
from project import Project


@pytest.mark.parametrize(
    ("overrides", "nproc", "steps"),
    [
        ([], None, (5, 50, 0)),  # 40 records / 8
        (["train.train_batch_per_replica=12"], None, (3, 30, 4)),
        (["train.train_batch_per_replica=12", "train.train_policy.dataloader_drop_last=false"], None, (4, 40, 0)),
        (["train.epoch=3"], None, (5, 15, 0)),
        (["train.max_num_steps=7"], None, (5, 7, 0)),
        (["train.max_num_steps=70"], None, (5, 50, 0)),
        (["policy.parallelism.dp_shard_size=2"], None, (2, 20, 8)),  # global batch 16
        (["policy.parallelism.dp_shard_size=-1"], 4, (1, 10, 8)),
        (["train.train_batch_per_replica=48"], None, (0, 0, 40)),
    ],
)
def test_steps(project: Project, overrides: list[str], nproc: int | None, steps: tuple[int, int, int]) -> None:
    found = project.plan(*overrides, nproc=nproc).steps
    assert (found.per_epoch, found.total, found.dropped_per_epoch) == steps


def test_batch_is_cut_by_rank_and_accumulation(project: Project) -> None:
    batch = project.plan("policy.parallelism={dp_shard_size: 2, dp_replicate_size: 2}").batch
    assert (batch.per_rank, batch.micro, batch.accumulation) == (8, 4, 2)
    assert (batch.data_parallel, batch.global_batch) == (4, 32)


def test_what_does_not_divide_or_fit_stays_unknown(project: Project) -> None:
    assert project.plan("train.train_batch_per_replica=6").batch.accumulation is None
    plan = project.plan("policy.parallelism.dp_shard_size=4", nproc=3)
    assert (plan.batch.data_parallel, plan.batch.global_batch) == (None, None)
    assert (plan.steps.per_epoch, plan.steps.total, plan.schedule.total_steps) == (None, None, None)
    assert (plan.checkpoint.every_steps, plan.validation.every_steps) == (None, None)


@pytest.mark.parametrize(
    ("overrides", "save", "validate"),
    [
        ([], 5, 5),
        (["train.ckpt.save_freq_in_epoch=3", "validation.freq_in_epoch=2"], 15, 10),
        (["train.ckpt.save_freq=4", "validation.freq=3"], 4, 3),
    ],
)
def test_saves_and_validations(project: Project, overrides: list[str], save: int, validate: int) -> None:
    plan = project.plan(*overrides)
    assert (plan.checkpoint.every_steps, plan.validation.every_steps) == (save, validate)


@pytest.mark.parametrize(
    ("overrides", "warmup", "decay"),
    [
        ([], 0, None),
        (["train.optm_warmup_epochs=2"], 10, None),
        (["train.optm_warmup_epochs=0.5"], 2, None),  # round(2.5) = 2, half to even
        (["train.optm_warmup_steps=7", "train.optm_warmup_epochs=2"], 7, None),
        (["train.optm_decay_ratio=0.3"], 0, 15),
        (["train.optm_decay_ratio=0"], 0, 0),
    ],
)
def test_warm_up_and_decay(project: Project, overrides: list[str], warmup: int, decay: int | None) -> None:
    schedule = project.plan(*overrides).schedule
    assert (schedule.warmup_steps, schedule.decay_steps, schedule.total_steps) == (warmup, decay, 50)


@pytest.mark.parametrize(
    ("rates", "lr"),
    [
        ("1e-4", {"global": 1e-4}),
        ("[1e-4, 1e-5]", {"global": 1e-4, "language_model": 1e-4, "visual": 1e-5}),
        ("[3, 2, 1]", {"global": 3, "language_model": 3, "visual": 2, "projector": 1}),
        ("[4, 3, 2, 1]", {"global": 4, "language_model": 4, "visual": 3, "projector": 2, "lm_head": 1}),
    ],
)
def test_learning_rates_of_the_parts(project: Project, rates: str, lr: dict[str, float]) -> None:
    assert project.plan(f"train.optm_lr={rates}").optimizer.lr == lr


def test_validation_set_or_split(project: Project) -> None:
    own = project.plan().data
    assert (own.train.num_records, own.val and own.val.num_records, own.train.exclude) == (40, 4, ())
    split = project.plan("custom.val_dataset=null", "train.train_policy.dataset.test_size=0.25").data
    assert split.val is not None and split.val.only is not None
    assert (split.train.num_records, split.val.num_records) == (30, 10)  # one clip of four
    assert split.train.exclude == split.val.only
    off = project.plan("custom.val_dataset=null", "validation.enable=false").data
    assert (off.train.num_records, off.val) == (40, None)


def test_modes_of_the_two_sets_are_their_own(project: Project) -> None:
    data = project.plan("custom.val_dataset.response_mode=think").data
    assert (data.train.response_mode, data.val and data.val.response_mode) == ("answer", "think")
    split = project.plan("custom.val_dataset=null", "custom.train_dataset.response_mode=hybrid").data
    assert split.val is not None and split.val.response_mode == "hybrid"


def test_resume_or_refuse(project: Project) -> None:
    for value in (True, False):
        checkpoint = project.plan(f"train.resume={str(value).lower()}").checkpoint
        assert (checkpoint.resume, checkpoint.warm_start) == (value, None)


def test_a_warm_start_loads_the_weights_it_names(project: Project, tmp_path: Path) -> None:
    other = make_snapshot(tmp_path / "other", parameters=128)
    plan = project.plan(f"train.resume={other}")
    assert (plan.model.path, plan.checkpoint.warm_start) == (str(other), str(other))
    assert plan.estimate.trainable_parameters == 128
    assert plan.checkpoint.resume, "interrupted, it goes on from its own commit"
    report = project.prepare("train.resume=nowhere/at/all").report
    assert [(finding.rule, finding.where) for finding in report.findings if finding.severity == "error"] == [
        ("cosmos_reason/model-missing", "train.resume")
    ]


@pytest.mark.parametrize(
    ("value", "reshard"),
    [("default", None), ("always", True), ("true", True), ("never", False), ("false", False), ("'true'", True)],
)
def test_reshard_after_forward(project: Project, value: str, reshard: bool | None) -> None:
    plan = project.plan(f"train.fsdp_reshard_after_forward={value}")
    assert plan.precision.reshard_after_forward is reshard


@pytest.mark.parametrize(
    ("keys", "sampling"),
    [
        ("{}", (None, 8)),
        ("{fps: 2}", (2, None)),
        ("{nframes: 4, total_pixels: 99999}", (None, 4)),
    ],
)
def test_sampling(project: Project, keys: str, sampling: tuple[float | None, int | None]) -> None:
    found = project.plan(f"custom.vision={keys}").data.sampling
    assert (found.fps, found.num_frames) == sampling
    assert found.total_pixels == (99999 if "total" in keys else None)


def test_state_is_spread_over_shards(project: Project) -> None:
    # 64 parameters: weights, gradients and two moments, float32
    assert project.plan().estimate.state_bytes_per_rank == 4 * 64 * 4
    assert project.plan("policy.parallelism.dp_shard_size=4").estimate.state_bytes_per_rank == 64 * 4
    assert project.plan("train.master_dtype=bfloat16").estimate.state_bytes_per_rank == 4 * 64 * 2
    assert project.plan().estimate.checkpoint_bytes == 3 * 64 * 4


def test_longest_record_is_found(project: Project) -> None:
    estimate = project.plan().estimate
    # 8 frames of 64x64: 4 temporal steps of 4 tokens (128 * 1024 pixels at least, of all frames: 192x192... scaled up)
    assert estimate.max_tokens is not None and estimate.max_tokens_record in range(40)
    assert project.plan("custom.system_prompt=abc").estimate.max_tokens == estimate.max_tokens + 3 + 13
