"""When a training saves, what it says of its saves, and what it can go back to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tao_runtime import __version__
from tao_runtime.engine.checkpoint import Checkpointer, State
from tao_runtime.engine.commits import Commit, list_commits
from tao_runtime.engine.dist import World
from tao_runtime.engine.run_dir import RunLog
from tao_runtime.errors import RunError
from tao_runtime.plan.identity import identity_parts, resume_identity
from tao_runtime.plan.model import TrainPlan


class Saver:
    """Saves the commits of one training run. Every method but `tell` is collective."""

    def __init__(
        self, plan: TrainPlan, run_dir: Path, world: World, *, log: RunLog, say: Callable[[str], None]
    ) -> None:
        self.plan = plan
        self.world = world
        self.log = log
        self.say = say
        self.rollbacks: list[tuple[int, int]] = []  # (from, to) in steps
        self.checkpoints = Checkpointer(run_dir / "checkpoints", plan.checkpoint, world, launch_id=world.agreed_id())

    def save(self, state: State, step: int, metrics: dict[str, float]) -> None:
        """Save, or start to; what became of it is said by `tell`."""
        commit = Commit(
            step=step,
            world_size=self.world.size,
            identity=resume_identity(self.plan),
            parts=identity_parts(self.plan),
            version=__version__,
            spec_sha256=self.plan.spec_sha256,
            metrics=metrics,
            files={},
        )
        self.checkpoints.save(state, commit)

    def save_now(self, state: State, step: int, metrics: dict[str, float]) -> None:
        """Save this step if no commit of it is there yet; returns when it is there. Raises RunError if it is not."""
        self.checkpoints.wait()
        if self.checkpoints.last_step != step:
            self.save(state, step, metrics)
        self.wait_for(step)

    def tell(self) -> None:
        """Log the saves that ended. A failed one is said aloud, and training goes on: the next one tries again."""
        for saved in self.checkpoints.ended():
            seconds, mode = round(saved.waited_s, 3), self.plan.checkpoint.mode
            if saved.error is None:
                self.log.status("checkpoint", step=saved.step, seconds=seconds, mode=mode)
                continue
            self.log.status("checkpoint-failed", step=saved.step, seconds=seconds, mode=mode, reason=saved.error)
            if self.world.is_main:
                self.say(f"step {saved.step} could not be saved ({saved.error}); older commits are kept")

    def wait_for(self, step: int) -> None:
        """Wait for the last save; raises RunError if its commit is not there."""
        self.checkpoints.wait()
        self.tell()
        if self.checkpoints.last_step != step:
            kept = self.checkpoints.last_step
            raise RunError(
                f"step {step} could not be saved: the reasons are in status.jsonl. The newest commit of this launch is "
                f"{'none' if kept is None else f'step {kept}'}. Fix: free disk space, and run the same command again"
            )

    def newest(self) -> Path | None:
        """Return the newest commit, of this launch or an earlier one; the same on every rank."""
        self.checkpoints.wait()
        self.world.barrier()  # the main rank has renamed what all of them wrote
        commits = list_commits(self.checkpoints.root)
        return commits[-1][0] if commits else None

    def rolled_back(self, commit: Path, step: int) -> int:
        """Note that the weights are those of a commit again; returns how many steps that drops."""
        to = int(commit.name.rpartition("_")[2])
        self.rollbacks.append((step, to))
        self.log.status("rolled-back", step=step, to=to)
        return step - to
