"""Where a run starts: from its newest commit, from given weights, or from the base. One of three, and it is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tao_runtime.engine.commits import damage, list_commits
from tao_runtime.errors import Finding, FindingsError, Fix
from tao_runtime.plan.identity import resume_identity
from tao_runtime.plan.model import TrainPlan

How = Literal["fresh", "warm-start", "resume"]


@dataclass(frozen=True, slots=True)
class Start:
    """How a run begins."""

    how: How
    step: int = 0
    commit: Path | None = None  # a committed checkpoint to load


def find_start(run_dir: Path, plan: TrainPlan) -> Start:
    """Return where the run starts. Changes nothing on disk.

    Raises:
        FindingsError: there are commits, and they are another run's, damaged, or not to be resumed.
    """
    commits = list_commits(run_dir / "checkpoints")
    if not commits:
        return Start("warm-start" if plan.checkpoint.warm_start else "fresh")
    directory, commit = commits[-1]
    total = plan.steps.total or 0
    saw, want, fix = None, "", None
    if not plan.checkpoint.resume:
        saw, want = f"{directory} is a commit of an earlier run", "an empty directory"
        fix = Fix(
            text="set train.resume=true to go on from it, or choose another results_dir", patch={"train.resume": True}
        )
    elif commit.identity != resume_identity(plan):
        saw = f"{directory} was saved with another model, data, global batch, optimizer or seed"
        want, fix = "a checkpoint of this very run", Fix(text="choose another results_dir, or restore the spec")
    elif commit.step > total:
        saw, want = f"{directory} has {commit.step} steps, the plan {total}", "a plan that goes beyond its checkpoint"
        fix = Fix(text="raise train.epoch, or choose another results_dir")
    elif problems := damage(directory, commit):
        saw, want = f"{directory}: {'; '.join(problems[:3])}", "the files as they were committed"
        fix = Fix(text="restore the files, or move this checkpoint away to resume from an older one")
    if saw is not None:
        raise FindingsError(
            [Finding(rule="run/resume", severity="error", where="results_dir", saw=saw, want=want, fix=fix)]
        )
    return Start("resume", commit.step, directory)
