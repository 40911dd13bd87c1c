"""From a passing plan to a run: what is refused before anything is written, and what is written of the environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from project import RECORDS, Project
from tao_runtime.engine.commits import Commit, commit_name, seal
from tao_runtime.engine.launch import launch, make_ledgers, recorded_environment, refuse_finished, write_inputs
from tao_runtime.engine.lock import alone_in
from tao_runtime.engine.resume import find_start
from tao_runtime.engine.run_dir import RUN
from tao_runtime.errors import Finding, FindingsError
from tao_runtime.plan.identity import resume_identity
from tao_runtime.plan.model import TrainPlan


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def refusal(error: pytest.ExceptionInfo[FindingsError]) -> Finding:
    [finding] = error.value.findings
    return finding


def commit(run_dir: Path, plan: TrainPlan, step: int, *, identity: str | None = None) -> Path:
    """Put a committed checkpoint of a plan into its run directory."""
    root = run_dir / "checkpoints"
    temporary = root / ".saving"
    temporary.mkdir(parents=True)
    (temporary / "weights").write_bytes(b"0" * 16)
    made = Commit(step=step, world_size=1, identity=identity or resume_identity(plan), spec_sha256="s", files={})
    seal(temporary, root / commit_name(step), made)
    return root / commit_name(step)


SECRETS = ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD", "DATABASE_URL", "SOMETHING_PRIVATE")


def test_no_value_of_the_environment_is_recorded_but_the_few_that_explain_a_run() -> None:
    environment = {**{name: f"hunter2-{name}" for name in SECRETS}, "WORLD_SIZE": "4", "OMP_NUM_THREADS": "1"}
    recorded = recorded_environment(environment)
    assert recorded["values"] == {"WORLD_SIZE": "4", "OMP_NUM_THREADS": "1"}
    assert recorded["names"] == sorted(environment)
    assert "hunter2" not in json.dumps(recorded)


def test_no_secret_is_in_the_run_directory(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "hunter2")
    prepared, run_dir = project.prepare(), project.root / "run"
    assert prepared.plan is not None
    run_dir.mkdir()
    write_inputs(run_dir, prepared.spec, prepared.plan, prepared.report, world=1)
    texts = {path.name: path.read_text() for path in run_dir.iterdir()}
    assert set(texts) == {"config.yaml", "plan.json", "report.json", "launch_info.yaml", "job_env.yaml"}
    assert "hunter2" not in "".join(texts.values())
    assert set(SECRETS) <= set(yaml.safe_load(texts["job_env.yaml"])["names"])
    assert TrainPlan.model_validate_json(texts["plan.json"]) == prepared.plan


def test_a_complete_run_is_never_written_over(project: Project) -> None:
    plan = project.plan()
    run_dir = Path(plan.output_dir)
    run_dir.mkdir()
    refuse_finished(run_dir, plan)
    (run_dir / RUN).write_text("{}")
    with pytest.raises(FindingsError) as error:
        refuse_finished(run_dir, plan)
    assert "holds a complete run; want a directory without run.json" in refusal(error).render()


def test_a_report_with_errors_writes_nothing(project: Project) -> None:
    prepared = project.prepare("train.train_batch_per_replica=6")
    assert prepared.plan is not None and not prepared.report.ok
    with pytest.raises(FindingsError, match="batch-divides"):
        launch(prepared.spec, prepared.facts, prepared.plan, prepared.report)
    assert not (project.root / "out").exists()


def test_records_that_are_too_long_are_counted_and_named(project: Project) -> None:
    prepared = project.prepare()
    assert isinstance(prepared.plan, TrainPlan)
    short = prepared.plan.model_copy(update={"model": prepared.plan.model.model_copy(update={"max_length": 20})})
    with pytest.raises(FindingsError) as error:
        launch(prepared.spec, prepared.facts, short, prepared.report)
    finding = refusal(error)
    assert f"{RECORDS} of {RECORDS} train records are longer than 20 tokens (records 0, 1, 2, 3, 4, ...)" in finding.saw
    assert (finding.where, finding.want) == ("policy.model_max_length", "at most 0 (train.bad_sample_budget)")
    assert not (project.root / "out").exists()


def test_an_evaluation_names_its_own_keys(project: Project) -> None:
    prepared = project.prepare(action="evaluate")
    assert prepared.plan is not None
    short = prepared.plan.model_copy(update={"model": prepared.plan.model.model_copy(update={"max_length": 20})})
    with pytest.raises(FindingsError) as error:
        make_ledgers(short, prepared.facts)
    finding = refusal(error)
    assert (finding.where, finding.want) == ("model.max_length", "at most 0")
    assert "policy" not in finding.render() and "records 0, 1, 2, 3)" in finding.saw


def test_a_budget_lets_some_records_be_too_long(project: Project) -> None:
    prepared = project.prepare("train.bad_sample_budget=40")
    assert isinstance(prepared.plan, TrainPlan)
    short = prepared.plan.model_copy(update={"model": prepared.plan.model.model_copy(update={"max_length": 20})})
    ledgers = make_ledgers(short, prepared.facts)
    assert len(ledgers["train"].too_long) == RECORDS


def test_a_ledger_for_each_data_set(project: Project) -> None:
    prepared = project.prepare()
    assert prepared.plan is not None
    ledgers = make_ledgers(prepared.plan, prepared.facts)
    assert {label: len(ledger) for label, ledger in ledgers.items()} == {"train": RECORDS, "val": 4}
    split = project.prepare("custom.val_dataset=null", "train.train_policy.dataset.test_size=10")
    assert split.plan is not None
    ledgers = make_ledgers(split.plan, split.facts)
    assert {label: len(ledger) for label, ledger in ledgers.items()} == {"train": RECORDS - 10, "val": 10}
    assert not set(ledgers["train"].record.tolist()) & set(ledgers["val"].record.tolist())


def test_an_empty_directory_is_a_fresh_start(project: Project) -> None:
    start = find_start(Path("nowhere"), project.plan())
    assert (start.how, start.step, start.commit) == ("fresh", 0, None)
    warm = find_start(Path("nowhere"), project.plan(f"train.resume={project.model}"))
    assert (warm.how, warm.step) == ("warm-start", 0)


@pytest.mark.parametrize("resume", ["true", "model"])
def test_the_newest_commit_of_this_run_is_resumed(project: Project, resume: str) -> None:
    plan = project.plan(f"train.resume={resume.replace('model', str(project.model))}")
    run_dir = project.root / "run"
    commit(run_dir, plan, 5)
    newest = commit(run_dir, plan, 10)
    start = find_start(run_dir, plan)
    assert (start.how, start.step, start.commit) == ("resume", 10, newest)


@pytest.mark.parametrize(
    ("step", "identity", "overrides", "words"),
    [
        (5, None, ["train.resume=false"], "is a commit of an earlier run; want an empty directory"),
        (5, "another", [], "another model, data, global batch, optimizer or seed; want a checkpoint of this very run"),
        (51, None, [], "has 51 steps, the plan 50; want a plan that goes beyond its checkpoint"),
    ],
)
def test_what_cannot_be_resumed_is_refused(
    project: Project, step: int, identity: str | None, overrides: list[str], words: str
) -> None:
    plan, run_dir = project.plan(*overrides), project.root / "run"
    commit(run_dir, plan, step, identity=identity)
    with pytest.raises(FindingsError) as error:
        find_start(run_dir, plan)
    assert refusal(error).rule == "run/resume"
    assert words in refusal(error).render()


def test_a_damaged_commit_is_refused_and_nothing_is_deleted(project: Project) -> None:
    plan, run_dir = project.plan(), project.root / "run"
    commit(run_dir, plan, 5)
    (commit(run_dir, plan, 10) / "weights").write_bytes(b"0")
    with pytest.raises(FindingsError) as error:
        find_start(run_dir, plan)
    assert "weights: 1 bytes, committed with 16" in refusal(error).saw
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} >= {commit_name(5), commit_name(10)}


def test_a_longer_run_may_be_resumed(project: Project) -> None:
    run_dir = project.root / "run"
    commit(run_dir, project.plan(), 50)
    assert find_start(run_dir, project.plan("train.epoch=20")).step == 50


def test_a_directory_takes_one_launcher_at_a_time(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        with pytest.raises(FindingsError) as error, alone_in(tmp_path):
            pass
        assert f"process {os.getpid()} is running in {tmp_path}" in refusal(error).saw
    with alone_in(tmp_path):
        pass
