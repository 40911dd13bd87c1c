"""A run that is a list of items, answers or clips: dealt to processes, kept one by one, complete when each is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tao_runtime.engine.dist import World
from tao_runtime.engine.kept import PARTS, POSITION, ItemPlan, Kept, Row
from tao_runtime.engine.progress import StepProgress
from tao_runtime.engine.run_dir import RunLog, RunRecord, now
from tao_runtime.errors import RunError


class ItemRun:
    """One launch of such a run, on one process of several."""

    def __init__(self, plan: ItemPlan, run_dir: Path, world: World) -> None:
        self.plan = plan
        self.world = world
        self.log = RunLog(run_dir, is_main=world.is_main)
        self._kept = Kept(run_dir / PARTS)
        self._started, self._clock = now(), time.monotonic()
        self._resumed = 0

    def missing(self, count: int) -> list[int]:
        """Return which of `count` items are not there yet, the same on every process. Collective."""
        there = self._kept.positions(count)
        self._resumed = len(there)
        self.world.barrier()  # nobody adds to what another one still reads
        return [position for position in range(count) if position not in there]

    def make(
        self, title: str, count: int, make: Callable[[list[int]], Sequence[Row]], *, size: int = 1
    ) -> list[dict[str, object]]:
        """Make what is missing of `count` items, `size` at a time; returns all in order on the main process, else none.

        `make` gets positions and returns a row for each. A killed process loses what it was making: at most `size`.
        Collective.

        Raises:
            RunError: an item is there twice, or not at all.
        """
        world, missing = self.world, self.missing(count)
        mine = missing[world.data_rank :: world.data_size]
        keeps = world.rank % world.cp == 0  # of the ranks that share an item, one writes it down
        left = len(missing)
        with StepProgress(title, count, done=count - left, enabled=world.is_main) as progress:
            for start in range(0, len(mine), size):
                chunk = mine[start : start + size]
                rows = [{POSITION: position, **row} for position, row in zip(chunk, make(chunk), strict=True)]
                if keeps:
                    self._kept.append(rows, rank=world.rank)
                made = min(left, len(chunk) * world.data_size)
                left -= made
                progress.advance(by=made)
        world.barrier()
        return self._everything(count) if world.is_main else []

    def _everything(self, count: int) -> list[dict[str, object]]:
        rows = {position: row for row in self._kept.rows() if (position := int(str(row[POSITION]))) < count}
        num = sum(int(str(row[POSITION])) < count for row in self._kept.rows())
        complete = num == len(rows) == count
        self.log.gate("one-result-each", ok=complete, records=count, results=num, kept=self._resumed)
        if not complete:
            raise RunError(f"{count} records gave {num} results, {len(rows)} of them distinct")
        return [{key: value for key, value in rows[at].items() if key != POSITION} for at in range(count)]

    def complete(
        self,
        count: int,
        *,
        outputs: Mapping[str, str],
        metrics: Mapping[str, float] | None = None,
        parents: Mapping[str, str] | None = None,
    ) -> None:
        """Write run.json; on the main process only."""
        plan = self.plan
        self.log.complete(
            RunRecord(
                action=plan.action,
                family=plan.family,
                spec_sha256=plan.spec_sha256,
                started_at=self._started,
                finished_at=now(),
                seconds=round(time.monotonic() - self._clock, 2),
                records=count,
                resumed_from=self._resumed or None,
                gates=tuple(self.log.gates),
                metrics=dict(metrics or {}),
                outputs=dict(outputs),
                parents={"model": plan.model.path, **(parents or {})},
            )
        )
