"""Where a run starts: from its newest commit, from given weights, or from the base. One of three, and it is named."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from tao_runtime import __version__
from tao_runtime.data.video_folder import folder_sha256
from tao_runtime.engine.commits import Commit, damage, list_commits, list_uncommitted
from tao_runtime.errors import Finding, FindingsError, Fix
from tao_runtime.plan.identity import identity_parts, resume_identity
from tao_runtime.plan.model import DatasetPlan, TrainPlan

How = Literal["fresh", "warm-start", "resume"]


@dataclass(frozen=True, slots=True)
class Start:
    """How a run begins."""

    how: How
    step: int = 0
    commit: Path | None = None  # a committed checkpoint to load
    ignored: tuple[str, ...] = ()  # what saves that died have left under checkpoints/
    saved_by: str | None = None  # the version that saved the commit, where it is another than this

    def remarks(self) -> list[tuple[str, str]]:
        """Return what is not wrong but must be said: (name, sentence)."""
        said = []
        if self.ignored:
            said.append(("half-written", f"checkpoints/{', '.join(self.ignored)}: no COMMIT, so they do not count"))
        if self.saved_by is not None:
            text = f"{self.commit} was saved by version {self.saved_by}; this is {__version__}"
            said.append(("version", text))
        return said


def find_start(run_dir: Path, plan: TrainPlan, *, hashes: bool = True) -> Start:
    """Return where the run starts. Changes nothing on disk.

    `hashes` reads every byte of the newest commit (0.6 GB/s on one busy core, four at a time); without, its sizes
    are checked.

    Raises:
        FindingsError: there are commits, and they are another run's, damaged, or not to be resumed.
    """
    root = run_dir / "checkpoints"
    commits, ignored = list_commits(root), tuple(list_uncommitted(root))
    if not commits:
        return Start("warm-start" if plan.checkpoint.warm_start else "fresh", ignored=ignored)
    directory, commit = commits[-1]
    refused = _refusal(directory, commit, plan)
    if refused is None and (problems := damage(directory, commit, hashes=hashes)):
        refused = _finding(
            f"{directory}: {'; '.join(problems[:3])}" + (f"; {len(problems) - 3} more" if problems[3:] else ""),
            "the files as they were committed",
            "restore the files, or move this checkpoint away to resume from an older one",
        )
    if refused is not None:
        raise FindingsError([refused])
    saved_by = commit.version if commit.version not in ("", __version__) else None
    return Start("resume", commit.step, directory, ignored, saved_by)


def _refusal(directory: Path, commit: Commit, plan: TrainPlan) -> Finding | None:
    """Return why a commit may not be resumed by a plan, if so."""
    total = plan.steps.total or 0
    if not plan.checkpoint.resume:
        return _finding(
            f"{directory} is a commit of an earlier run",
            "an empty directory",
            "set train.resume=true to go on from it, or choose another results_dir",
            resume=True,
        )
    if commit.identity != resume_identity(plan):
        parts = identity_parts(plan)
        other = [name for name, value in commit.parts.items() if parts.get(name) != value]
        return _finding(
            f"{directory} was saved with another model, data, global batch, optimizer or seed"
            + (f" (other: {', '.join(other)})" if other else ""),
            "a checkpoint of this very run",
            "choose another results_dir, or restore the spec",
        )
    if commit.step > total:
        return _finding(
            f"{directory} has {commit.step} steps, the plan {total}",
            "a plan that goes beyond its checkpoint",
            "raise train.epoch, or choose another results_dir",
        )
    return None


def _finding(saw: str, want: str, fix: str, *, resume: bool = False) -> Finding:
    patch: dict[str, JsonValue] | None = {"train.resume": True} if resume else None
    return Finding(
        rule="run/resume", severity="error", where="results_dir", saw=saw, want=want, fix=Fix(text=fix, patch=patch)
    )


def check_unchanged(plan: TrainPlan) -> None:
    """Compare the annotation files with the plan's, so that what was checked is what is trained on.

    Raises:
        FindingsError: a file is gone or was changed since the plan was made.
    """
    findings = []
    for dataset in (plan.data.train, plan.data.val):
        if dataset is None or dataset.sha256 is None:
            continue
        saw = _changed(dataset)
        if saw is not None:
            findings.append(
                Finding(
                    rule="run/data-changed",
                    severity="error",
                    where=dataset.annotation,
                    saw=saw,
                    want=f"the file that was checked before the launch (sha256 {dataset.sha256[:12]})",
                    fix=Fix(text="run the command again: it checks the file as it is now"),
                )
            )
    if findings:
        raise FindingsError(findings)


def _changed(dataset: DatasetPlan) -> str | None:
    """Return how a file, or a folder of clips, differs from what it was, if it does."""
    path = Path(dataset.annotation)
    try:
        if dataset.format == "video-folder":
            found = folder_sha256(path)
        else:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return str(error)
    return None if found == dataset.sha256 else f"sha256 {found[:12]}"
