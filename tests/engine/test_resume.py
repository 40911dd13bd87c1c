"""Where a run starts, and what is refused: each with what differs, what was seen, and nothing changed on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from project import Project
from tao_runtime import __version__
from tao_runtime.engine.commits import Commit, commit_name, seal
from tao_runtime.engine.resume import check_unchanged, find_start
from tao_runtime.errors import Finding, FindingsError
from tao_runtime.plan.identity import identity_parts, resume_identity
from tao_runtime.plan.model import TrainPlan


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def commit(run_dir: Path, plan: TrainPlan, step: int, *, version: str = __version__, world: int = 1) -> Path:
    """Put a committed checkpoint of a plan into its run directory."""
    root = run_dir / "checkpoints"
    (root / ".saving/model").mkdir(parents=True)
    (root / ".saving/model/shard").write_bytes(b"0" * 16)
    parts, identity = identity_parts(plan), resume_identity(plan)
    made = Commit(
        step=step, world_size=world, identity=identity, spec_sha256="s", files={}, parts=parts, version=version
    )
    seal(root / ".saving", root / commit_name(step), made)
    return root / commit_name(step)


def refusal(run_dir: Path, plan: TrainPlan) -> Finding:
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    with pytest.raises(FindingsError) as error:
        find_start(run_dir, plan)
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before
    [finding] = error.value.findings
    return finding


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("policy.model_max_length=8192", "model"),
        ("train.train_batch_per_replica=16", "batch"),
        ("custom.system_prompt=Look.", "data"),
    ],
)
def test_another_run_is_named_by_what_differs(project: Project, override: str, part: str) -> None:
    commit(project.root / "run", project.plan(), 5)
    assert f"(other: {part})" in refusal(project.root / "run", project.plan(override)).saw


def test_another_data_set_is_another_run(project: Project) -> None:
    commit(project.root / "run", project.plan(), 5)
    annotation = Path(project.plan().data.train.annotation)
    annotation.write_text(annotation.read_text() + "\n")
    assert "(other: data)" in refusal(project.root / "run", project.plan()).saw


def test_a_flipped_bit_in_the_newest_commit_is_refused_and_named(project: Project) -> None:
    plan, run_dir = project.plan(), project.root / "run"
    commit(run_dir, plan, 5)
    (commit(run_dir, plan, 10) / "model/shard").write_bytes(b"0" * 15 + b"1")
    finding = refusal(run_dir, plan)
    assert "iter_000000010: model/shard: sha256" in finding.saw and "committed with" in finding.saw
    assert finding.fix is not None and "move this checkpoint away" in finding.fix.text
    assert find_start(run_dir, plan, hashes=False).step == 10


def test_another_version_is_said_and_resumed(project: Project) -> None:
    plan, run_dir = project.plan(), project.root / "run"
    commit(run_dir, plan, 5, version="0.0.1")
    start = find_start(run_dir, plan)
    [(kind, text)] = start.remarks()
    assert (start.step, kind) == (5, "version")
    assert text.endswith(f"was saved by version 0.0.1; this is {__version__}")


def test_what_is_half_written_is_ignored_and_said(project: Project) -> None:
    plan, run_dir = project.plan(), project.root / "run"
    commit(run_dir, plan, 5)
    (run_dir / "checkpoints" / commit_name(9)).mkdir()
    start = find_start(run_dir, plan)
    assert (start.step, start.ignored) == (5, (commit_name(9),))
    assert start.remarks() == [("half-written", "checkpoints/iter_000000009: no COMMIT, so they do not count")]


def test_a_commit_of_a_larger_world_is_resumed(project: Project) -> None:
    plan, run_dir = project.plan(), project.root / "run"
    commit(run_dir, plan, 5, world=64)
    start = find_start(run_dir, plan)
    assert (start.how, start.step, start.remarks()) == ("resume", 5, [])


def test_data_as_it_was_checked_is_unchanged(project: Project) -> None:
    check_unchanged(project.plan())


@pytest.mark.parametrize("harm", ["edited", "gone"])
def test_data_that_changed_after_the_check_is_refused(project: Project, harm: str) -> None:
    plan = project.plan()
    annotation = Path(plan.data.train.annotation)
    annotation.write_text(annotation.read_text() + " ") if harm == "edited" else annotation.unlink()
    with pytest.raises(FindingsError) as error:
        check_unchanged(plan)
    [finding] = error.value.findings
    assert (finding.rule, finding.where) == ("run/data-changed", str(annotation))
    assert (f"want the file that was checked before the launch (sha256 {(plan.data.train.sha256 or '')[:12]})") in (
        finding.render()
    )
