"""Items of a run, kept as they are made, a line of JSON each: a launch after a killed one goes on. No torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tao_runtime.data.families import dry_family
from tao_runtime.engine.commits import write_atomically
from tao_runtime.engine.requests import VIDEOS, answer_requests, clip_requests
from tao_runtime.errors import Finding, FindingsError, Fix
from tao_runtime.plan.model import EvaluatePlan, InferencePlan, VideoInferencePlan

PARTS, IDENTITY = "parts", "identity.txt"
POSITION, CLIP = "position", "clip"  # of a row: which item it is; the name of the clip that it stands for
Row = Mapping[str, object]
ItemPlan = EvaluatePlan | InferencePlan | VideoInferencePlan


class Kept:
    """The items that are there, in a folder with a file for each process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield every item that is whole."""
        for part in sorted(self.folder.glob("*.jsonl")):
            for line in part.read_text().splitlines():
                with suppress(json.JSONDecodeError):  # a process that was killed leaves half a line: made again
                    yield json.loads(line)

    def positions(self, count: int) -> set[int]:
        """Return which of the first `count` items are there."""
        return {position for row in self.rows() if (position := int(str(row[POSITION]))) < count}

    def append(self, rows: Iterable[Row], *, rank: int) -> None:
        """Add items to the file of a process, on the disk when this returns."""
        with (self.folder / f"rank-{rank}.jsonl").open("a") as part:
            # The line end before each: what a killed process left of a line ends there.
            part.write("".join("\n" + json.dumps(row) + "\n" for row in rows))
            part.flush()
            os.fsync(part.fileno())


def prepare_kept(run_dir: Path, plan: ItemPlan, *, complete: bool, anew: bool) -> None:
    """Keep the items of an earlier launch of the same request; forget those that are to be made anew.

    An evaluation that was complete is made again unless its spec says otherwise; an inference has nothing to do then.

    Raises:
        FindingsError: the directory holds items of another request, which are not to be forgotten.
    """
    kept = Kept(run_dir / PARTS)
    mark, identity = kept.folder / IDENTITY, identity_of(plan)
    same = mark.is_file() and mark.read_text() == identity
    forget = anew
    if isinstance(plan, EvaluatePlan) and not plan.skip_saved:
        forget = forget or complete or not same
    if mark.is_file() and not same and not forget:
        raise FindingsError([_other(run_dir, plan)])
    if forget:
        _forget(run_dir, kept)
    kept.folder.mkdir(exist_ok=True)
    write_atomically(mark, identity)


def _forget(run_dir: Path, kept: Kept) -> None:
    for row in kept.rows():
        for suffix in (".mp4", ".json") if CLIP in row else ():
            (run_dir / VIDEOS / f"{Path(str(row[CLIP])).name}{suffix}").unlink(missing_ok=True)
    for part in kept.folder.rglob("*.jsonl"):
        part.unlink()


def _other(run_dir: Path, plan: ItemPlan) -> Finding:
    keep = ", or set evaluation.skip_saved=false" if isinstance(plan, EvaluatePlan) else ""
    return Finding(
        rule="run/other-request",
        severity="error",
        where="results_dir",
        saw=f"{run_dir} holds what another spec, model, prompt or input was answered with",
        want="a directory without parts/, or the very same request",
        fix=Fix(text=f"choose another output directory, or start anew with --anew{keep}"),
    )


def identity_of(plan: ItemPlan) -> str:
    """Return a hash of what decides the items: the request, and weights and media by name, size and time."""
    if isinstance(plan, EvaluatePlan):
        fields = {"model", "data", "sampling", "system_prompt", "prompt_format", "generation"}
        decided: object = plan.model_dump(include=fields)
    elif isinstance(plan, InferencePlan):
        dry = dry_family(plan.family)
        asked = [(record, [str(root / name) for _, name in dry.media_names(record)])
                 for record, root in answer_requests(plan)]  # fmt: skip
        decided = [plan.spec_sha256, [[record, [_stamp(Path(name)) for name in names]] for record, names in asked]]
    else:
        decided = [plan.spec_sha256, [[each.name, each.prompt, each.seed, each.given and _stamp(each.given)]
                                      for each in clip_requests(plan)]]  # fmt: skip
    folders = [Path(path) for path in (plan.model.path, plan.model.base_path) if path]
    weights = [_stamp(path) for folder in folders for path in sorted(folder.rglob("*.safetensors"))]
    return hashlib.sha256(json.dumps([weights, decided], sort_keys=True, default=str).encode()).hexdigest()


def _stamp(path: Path) -> list[object]:
    """Return name, size and time of a file; of one that is not there, the name: whoever reads it will say so."""
    with suppress(OSError):
        found = path.stat()
        return [str(path), found.st_size, found.st_mtime_ns]
    return [str(path)]
